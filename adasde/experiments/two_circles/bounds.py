"""The paper's error bounds (2510.23285, Theorems 1 to 3), measured step by step on two circles.

The network is averaged over rotations (``Averaged``), so that every law is rotation invariant: total
variation and W1 are those of the radius, and follow from a grid instead of from samples. At every step all
gammas start at the same law, that of the student with its own gammas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adasde.distillation.distill import distill_coefficients
from adasde.distillation.teacher import Teacher
from adasde.errors import ParamsError
from adasde.experiments.two_circles.experiment import fit
from adasde.experiments.two_circles.radial import Averaged, RadialLaw, gaussian_law, level_edges
from adasde.experiments.two_circles.settings import Settings
from adasde.experiments.two_circles.steps import StepTerms, StudentStep
from adasde.models.families.toy.training import deterministic
from adasde.sampling.coefficients import Coefficients
from adasde.types import Denoiser

ENERGY = {"gamma_max": 1.0, "inner_weight": 0.0, "pixel_weight": 0.0, "energy_weight": 1.0}
STUDENTS: dict[str, dict[str, Any]] = {
    "teacher matching": {"gamma_max": 0.02, "inner_weight": 1.0, "pixel_weight": 1.0, "energy_weight": 0.0},
    "energy distance": ENERGY,
    "energy distance, no noise": ENERGY | {"gamma_max": 0.0},
}
"""How the students learn: from the teacher's states at every node, or from the data."""

POOL, REAL = 2_000, 4_096
"""Teacher trajectories at most, and points of the data for the energy distance."""


@dataclass(frozen=True)
class BoundSettings:
    """Numbers of the measurement.

    Attributes:
        nfes: network evaluations of the students, each odd: AFS, two a step.
        gammas: besides each student's own and 0.
        bins: of a radial law.
        trajectories, batch: seen by a student in all, and in one optimiser step.
        circles: data, network and seed, as in the other analysis.

    Raises:
        ParamsError: a value is out of range.
    """

    nfes: tuple[int, ...] = (3, 5, 7, 9)
    gammas: tuple[float, ...] = (3e-4, 0.02, 0.2)
    bins: int = 2_000
    trajectories: int = 102_400
    batch: int = 512
    circles: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if not self.nfes or any(nfe < 3 or nfe % 2 == 0 for nfe in self.nfes):
            raise ParamsError(f"NFE must be odd numbers of at least 3, got {list(self.nfes)}.")
        if any(not 0 <= gamma < 100 for gamma in self.gammas):
            raise ParamsError(f"gamma must be at least 0 and below 100, got {list(self.gammas)}.")
        for name, lowest in (("bins", 100), ("trajectories", 1), ("batch", 2)):
            if getattr(self, name) < lowest:
                raise ParamsError(f"{name} must be at least {lowest}, got {getattr(self, name)}.")


@dataclass(frozen=True)
class MeasuredStep:
    """The ``terms`` of a step of a ``student`` of ``nfe`` evaluations; ``own``: with the gamma it learned."""

    student: str
    nfe: int
    own: bool
    terms: StepTerms


@dataclass(frozen=True)
class FinalError:
    """W1 to the data at the end of a trajectory whose steps have the noise ``gammas`` [N]."""

    student: str
    nfe: int
    gammas: tuple[float, ...]
    own: bool
    wasserstein: float


Measurement = MeasuredStep | FinalError


def measured(settings: BoundSettings) -> Iterator[Measurement]:
    """All steps and ends of every student; deterministic given the seed."""
    with deterministic(settings.circles.seed) as generator:
        circles = settings.circles.circles
        network = Averaged(fit(circles.sample(settings.circles.points, generator), settings.circles))
        real = circles.sample(REAL, generator)
        for name in STUDENTS:
            for nfe in settings.nfes:
                table = student(network, name, nfe, settings, real=real)
                trajectory = Trajectory(network, table, settings)
                for own, terms in trajectory.steps():
                    yield MeasuredStep(name, nfe, own, terms)
                for own, gammas in trajectory.alternatives():
                    yield FinalError(name, nfe, gammas, own, trajectory.error(gammas))


def student(network: Denoiser, name: str, nfe: int, settings: BoundSettings, *, real: Tensor) -> Coefficients:
    """AdaSDE's own step on the paper's grid, trained as ``STUDENTS`` says."""
    return distill_coefficients(
        network,
        (2,),
        nfe,
        teacher=Teacher(),
        pool=min(POOL, settings.trajectories),
        chunk=POOL,
        real=real,
        seed=settings.circles.seed,
        dtype=torch.float64,
        solver="adasde",
        loop="end-to-end",
        clip=False,
        scale_time=0.2,
        feature_weight=0.0,
        batch=settings.batch,
        trajectories=settings.trajectories,
        **STUDENTS[name],
    )


@dataclass(frozen=True)
class Trajectory:
    """The laws of a sampler with ``network`` and ``table``, with its own gammas or others."""

    network: Denoiser
    table: Coefficients
    settings: BoundSettings

    def step(self, index: int) -> StudentStep:
        """Step ``index`` as a map of laws."""
        return StudentStep(self.network, self.table, index, self.settings.circles.circles, self.settings.bins)

    def laws(self, gammas: Sequence[float]) -> Iterator[RadialLaw]:
        """Laws at the nodes 0..N with the noise ``gammas`` [N]."""
        first = float(self.table.sigmas[0])
        law = gaussian_law(first, level_edges(self.settings.circles.circles, first, self.settings.bins))
        yield law
        for i, gamma in enumerate(gammas):
            law = self.step(i).end(law, gamma)
            yield law

    def steps(self) -> Iterator[tuple[bool, StepTerms]]:
        """(Whether gamma is the table's, terms) of every step after the first, which has no noise."""
        learned = self.table.gamma.tolist()
        for i, (law, own) in enumerate(zip(self.laws(learned), learned, strict=False)):
            if i:
                for gamma in sorted({0.0, own, *self.settings.gammas}):
                    yield gamma == own, self.step(i).terms(law, gamma)

    def alternatives(self) -> Iterator[tuple[bool, tuple[float, ...]]]:
        """(Whether they are the table's, gammas): its own, then constants, the largest also without the last.

        Constants leave out the first step, which has no noise.
        """
        learned = tuple(self.table.gamma.tolist())
        yield True, learned
        for gamma in (0.0, *self.settings.gammas):
            constant = (0.0, *[gamma] * (len(learned) - 1))
            yield False, constant
            if 0 < gamma == max(self.settings.gammas) and len(learned) > 2:
                yield False, (*constant[:-1], 0.0)

    def error(self, gammas: Sequence[float]) -> float:
        """W1 to the data at the last node."""
        *_, law = self.laws(gammas)
        last = self.step(len(gammas) - 1)
        return law.wasserstein(last.true(last.levels[1]))
