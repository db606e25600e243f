"""Teacher's states that the bench's distillations learn from, as cells."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from adasde.distillation.teacher import Teacher, split
from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.samplers import ScheduleSpec
from adasde.experiments.bench.targets import target
from adasde.sampling import integrate
from adasde.sampling.noise import latents
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import evaluations_of
from adasde.stages.code import code_hash
from adasde.utils.batching import in_chunks

BATCH = 1000
TEACHER_STEPS = 40
"""iPNDM steps (time_uniform, rho = 1.5) of the common teacher's trajectories."""

TRAINING_SEED = 0


@functools.cache
def made_by(spec: str) -> dict[str, Any]:
    """What every result on this target depends on: the target, torch's version, our code."""
    return {
        **target(spec).identity,
        "torch": torch.__version__,
        "code": code_hash("sample"),
    }


@dataclass(frozen=True)
class Ends:
    """Both ends of ``count`` teacher trajectories, which every distillation on this model learns from."""

    target: str
    count: int

    @property
    def identity(self) -> dict[str, Any]:
        """Number, seeds and the solver."""
        what = {"count": self.count, "seed": TRAINING_SEED, "ipndm steps": TEACHER_STEPS}
        return {"kind": "ends", **made_by(self.target), **what}

    @property
    def cost(self) -> int:
        """Evaluations."""
        return TEACHER_STEPS * self.count

    @property
    def seeds(self) -> range:
        """Training seeds: neither test nor validation seeds."""
        return range(TRAINING_SEED << 32, (TRAINING_SEED << 32) + self.count)

    def compute(self, cache: CellCache) -> dict[str, Any]:
        """Caches ``states`` [2, count, *shape]."""
        goal = target(self.target)
        grid = schedule(
            "time_uniform", TEACHER_STEPS, sigma_min=goal.sigma_min, sigma_max=goal.sigma_max, rho=1.5
        )

        def states(chunk: range) -> Tensor:
            start = latents(chunk, goal.shape, dtype=goal.dtype)
            end = integrate.solve(goal.bind(chunk), start, grid, "ipndm")
            return torch.stack([start * grid[0], end])

        result = {"seeds": [self.seeds.start, self.seeds.stop]}
        return cache.put(self.identity, result, {"states": in_chunks(self.seeds, BATCH, states, dim=1)})


@dataclass(frozen=True)
class Nodes:
    """States of ``count`` trajectories of a recipe's own ``teacher`` at all nodes of the student's grid.

    ``grid`` has ``sigmas`` [steps + 1] as its nodes.
    """

    target: str
    count: int
    teacher: Teacher
    grid: ScheduleSpec
    sigmas: tuple[float, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """Number, seeds, teacher and grid."""
        what = {"count": self.count, "seed": TRAINING_SEED, "teacher": asdict(self.teacher)}
        grid = {"grid": self.grid.label, "sigmas": list(self.sigmas), "code": code_hash("teacher")}
        return {"kind": "nodes", **made_by(self.target), **what, **grid}

    @property
    def cost(self) -> int:
        """Evaluations."""
        teacher = self.teacher
        intervals = (len(self.sigmas) - 1) * (teacher.inserted + 1) * teacher.substeps
        return intervals * evaluations_of(teacher.solver) * self.count

    @property
    def seeds(self) -> range:
        """Training seeds, those of ``Ends``."""
        return Ends(self.target, self.count).seeds

    def compute(self, cache: CellCache) -> dict[str, Any]:
        """Caches ``states`` [steps + 1, count, *shape]."""
        goal = target(self.target)
        grid, parts = torch.tensor(self.sigmas, dtype=torch.float64), self.teacher.inserted + 1

        def states(chunk: range) -> Tensor:
            start = latents(chunk, goal.shape, dtype=goal.dtype)
            if self.grid.nodes:
                return self.teacher.along(goal.bind(chunk), start, split(grid, parts), every=parts)
            return self.teacher.states(
                goal.bind(chunk),
                start,
                schedule=self.grid.name,
                steps=len(grid) - 1,
                sigma_min=goal.sigma_min,
                sigma_max=goal.sigma_max,
                rho=self.grid.rho,
            )

        result = {"seeds": [self.seeds.start, self.seeds.stop]}
        return cache.put(self.identity, result, {"states": in_chunks(self.seeds, BATCH, states, dim=1)})
