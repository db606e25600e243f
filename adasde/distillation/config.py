"""The numbers of a distillation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP, OWN
from adasde.sampling.schedules import unknown
from adasde.sampling.solvers import make_solver


@dataclass(frozen=True)
class DistillSettings:
    """The numbers of the recipe; the defaults are those that measured best on the digits model.

    Attributes:
        solver: ``adasde``, ``adasde-multistep`` (see ``solvers.Multistep``), or the classical solver behind
            the plug-in form (see ``solvers.PlugIn``).
        solver_options: the options of that solver.
        history: evaluations whose directions a step of ``adasde-multistep`` weighs, its own included.
        points: K, evaluations of each step of AdaSDE's own form after the first.
        learn_grid: the inner nodes of the time grid are learned too.
        gamma_max: highest stochastic coefficient that may be learned; 0 turns the noise off.
        scale_dir, scale_time: how far lambda and mu may leave 1.
        trajectories: teacher trajectories seen in all (they repeat when fewer are stored).
        batch: trajectories of one optimiser step.
        micro_batch: trajectories whose walk is in memory together; 0: all of the batch.
        lr, lr_final: Adam's rate at the start and, along a cosine, at the end.
        inner_weight: weight of the mean squared error at the inner nodes, each over 1 + sigma^2.
        pixel_weight: weight of the mean squared error at the last node.
        feature_weight: weight of the mean squared feature error at the last node (the paper's alpha).
        energy_weight: weight of the energy distance between features of the last states and of real samples.
        paired_final: what is left of the three weights above it at the end, along the same cosine: paired
            errors are quick to follow, but their best is the teacher.
        max_gradient: gradients are scaled down to this norm.
    """

    solver: str = OWN
    solver_options: dict[str, Any] = field(default_factory=dict)
    history: int = 4
    points: int = 1
    learn_grid: bool = False
    gamma_max: float = 0.02
    scale_dir: float = 0.3
    scale_time: float = 0.5
    trajectories: int = 16_000
    batch: int = 128
    micro_batch: int = 0
    lr: float = 0.05
    lr_final: float = 0.002
    inner_weight: float = 0.0
    pixel_weight: float = 0.1
    feature_weight: float = 0.3
    energy_weight: float = 0.0
    paired_final: float = 1.0
    max_gradient: float = 1.0

    def __post_init__(self) -> None:
        if self.history < 1:
            raise ParamsError(f"history = {self.history}: a step weighs at least its own evaluation, 1.")
        if self.solver == MULTISTEP and self.solver_options:
            raise ParamsError(f"{MULTISTEP} has no solver_options, got {self.solver_options}.")
        if self.solver != OWN:
            if self.solver != MULTISTEP:
                make_solver(self.solver, self.solver_options)
            if self.points != 1:
                raise ParamsError(f"points = {self.points} belongs to {OWN}; {self.solver} has no points.")
        if self.paired_final < 1 and not self.energy_weight:
            raise ParamsError(
                f"paired_final = {self.paired_final:g} takes the paired errors back in favour of the energy "
                "distance, which has no weight: set energy_weight above 0, or paired_final to 1."
            )
        if self.learn_grid and self.inner_weight > 0:
            raise ParamsError(
                "with learn_grid the nodes move away from the teacher's, so that errors at the inner nodes "
                "mean nothing: set inner_weight to 0."
            )


def cosine(start: float, end: float, progress: float) -> float:
    """From ``start`` at progress 0 to ``end`` at 1, flat at both."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def recipe_from(settings: dict[str, Any]) -> DistillSettings:
    """``DistillSettings`` from keyword arguments; an unknown name is a ParamsError with the nearest one."""
    names = [item.name for item in fields(DistillSettings)]
    for name in settings:
        if name not in names:
            raise ParamsError(unknown("setting of the distillation", name, names))
    return DistillSettings(**settings)


MULTISTEP_GRID: dict[str, Any] = {"solver": MULTISTEP, "learn_grid": True, "gamma_max": 0.0}
MULTISTEP_ENERGY = MULTISTEP_GRID | {
    "energy_weight": 3.0,
    "pixel_weight": 0.3,
    "feature_weight": 1.0,
    "paired_final": 0.0,
    "trajectories": 64_000,
}
"""What differs from the defaults in the recipe that measured best on the bundled models (docs/quality.md)."""
