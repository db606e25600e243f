"""What the bench measures: models, budgets, samplers, schedules, numbers of images."""

from __future__ import annotations

from dataclasses import dataclass, field

from adasde.errors import ParamsError
from adasde.experiments.bench.samplers import LEARNED, Classical, Learned, ScheduleSpec, all_classical

VALIDATION_SEED = 900_000_000
"""The first of the seeds that schedules are chosen on; no test seed is among them."""

EDM = ScheduleSpec("polynomial", 7.0)


@dataclass(frozen=True)
class BenchSettings:
    """What to measure, and on how many images.

    Attributes:
        targets: models, see ``bench.targets.target``.
        nfe: budgets; a sampler has a row where it can spend one exactly.
        classical, grids: every solver is tried on every schedule, with and without AFS.
        learned, learned_grids: every recipe is distilled on every schedule, with AFS where that fits.
        trajectories: of the teacher; all recipes learn from the same.
        images, ranges, first_seed: the test seeds, ``ranges`` disjoint ranges of ``images`` each.
        choice_images: number of validation seeds, on which schedules are chosen.
        metric: the one that decides; empty: the first of the model's own.
        floor_steps: steps of Heun's method that show what the model itself can do.

    Raises:
        ParamsError: a value is out of range.
    """

    targets: tuple[str, ...] = ("digits",)
    nfe: tuple[int, ...] = (3, 5, 7, 9)
    classical: tuple[Classical, ...] = field(default_factory=lambda: tuple(all_classical()))
    grids: tuple[ScheduleSpec, ...] = (EDM, ScheduleSpec("logsnr"), ScheduleSpec("time_uniform"))
    learned: tuple[Learned, ...] = tuple(LEARNED.values())
    learned_grids: tuple[ScheduleSpec, ...] = (EDM, ScheduleSpec("time_uniform", 1.5))
    trajectories: int = 8000
    images: int = 3000
    ranges: int = 3
    first_seed: int = 2_000_000
    choice_images: int = 1000
    metric: str = ""
    floor_steps: int = 50

    def __post_init__(self) -> None:
        for name in ("targets", "nfe"):
            if not getattr(self, name):
                raise ParamsError(f"the bench needs at least one entry in {name}.")
        if min(self.nfe) < 1:
            raise ParamsError(f"nfe must be at least 1, got {min(self.nfe)}.")
        for name in ("images", "choice_images"):
            if getattr(self, name) < 2:
                raise ParamsError(f"{name} must be at least 2, got {getattr(self, name)}.")
        if self.ranges < 1 or self.floor_steps < 1:
            raise ParamsError(f"ranges and floor_steps must be >= 1: {self.ranges}, {self.floor_steps}.")
        if self.trajectories < 1:
            raise ParamsError(f"trajectories must be at least 1, got {self.trajectories}.")
        last = self.first_seed + self.ranges * self.images
        if not 2**32 > VALIDATION_SEED >= last or self.first_seed < self.trajectories:
            raise ParamsError(
                f"the test seeds {self.first_seed} to {last - 1} must lie between {self.trajectories} and "
                f"{VALIDATION_SEED - 1}: the others are for training and validation."
            )
