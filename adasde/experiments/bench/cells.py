"""The units of work of the bench. Each knows its identity, its cost, and how to compute itself."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from adasde.distillation.distill import batches_of, distill
from adasde.errors import AdaSDEError
from adasde.experiments.bench.samplers import Classical, Learned
from adasde.experiments.bench.store import Store
from adasde.experiments.bench.targets import target
from adasde.sampling import integrate
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import schedule
from adasde.sampling.wrappers import Counting
from adasde.stages.code import code_hash
from adasde.types import Denoiser
from adasde.utils.batching import in_chunks

BATCH = 1000
SHOWN = 24
"""Images of a cell that are kept for the sheets."""

TEACHER_STEPS = 40
"""iPNDM steps (time_uniform, rho = 1.5) of the trajectories that learned samplers are taught by."""

TRAINING_SEED = 0


class Cell(Protocol):
    """A unit of work: computed in any process, found again by its identity."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON."""
        ...

    @property
    def cost(self) -> int:
        """Network evaluations, about; a training step counts three."""
        ...

    def compute(self, store: Store) -> dict[str, Any]:
        """The result as JSON; keeps it in ``store`` too."""
        ...


@dataclass(frozen=True)
class Sampler:
    """A sampler with everything chosen: a classical one on ``sigmas``, or (``table``) a coefficient file."""

    sigmas: tuple[float, ...]
    afs: bool
    classical: Classical | None = None
    table: str | None = None

    def draw(self, denoise: Denoiser, latent: Tensor, seeds: range) -> Tensor:
        """Final states of the samples of ``seeds``."""
        noise = SeededNoise(seeds)
        if self.table:
            return integrate.sample(denoise, latent, Coefficients.load(self.table), noise)
        assert self.classical is not None
        grid = torch.tensor(self.sigmas, dtype=torch.float64)
        name, options = self.classical.solver, self.classical.options
        return integrate.solve(denoise, latent, grid, name, afs=self.afs, noise=noise, **options)

    @property
    def identity(self) -> dict[str, Any]:
        """The file of a table is named by its own identity, so its name is enough."""
        table = Path(self.table).name if self.table else None
        return {
            "sigmas": list(self.sigmas),
            "afs": self.afs,
            "classical": asdict(self.classical) if self.classical else None,
            "table": table,
        }


@cache
def made_by(spec: str) -> dict[str, Any]:
    """What every number on this target depends on: the target, torch's arithmetic, our code."""
    return {
        **target(spec).identity,
        "torch": torch.__version__,
        "code": code_hash("sample"),
    }


@dataclass(frozen=True)
class Measure:
    """Sample the seeds ``start`` .. ``stop`` - 1 and judge them; ``nfe`` is what should come out."""

    target: str
    sampler: Sampler
    nfe: int
    start: int
    stop: int

    @property
    def identity(self) -> dict[str, Any]:
        """Sampler and seeds."""
        seeds = [self.start, self.stop]
        return {"kind": "measure", **made_by(self.target), **self.sampler.identity, "seeds": seeds}

    @property
    def cost(self) -> int:
        """Evaluations."""
        return self.nfe * (self.stop - self.start)

    def compute(self, store: Store) -> dict[str, Any]:
        """Metrics, measured NFE and seconds; or ``error``, where the sampler broke down."""
        goal, seeds = target(self.target), range(self.start, self.stop)
        calls = 0

        def draw(piece: range) -> Tensor:
            nonlocal calls
            counting = Counting(goal.bind(piece))
            latent = latents(piece, goal.shape, dtype=goal.dtype)
            states = self.sampler.draw(counting, latent, piece)
            calls += counting.nfe * len(piece)
            return states

        started = time.perf_counter()
        try:
            states = in_chunks(seeds, BATCH, draw)
            seconds = time.perf_counter() - started
            result: dict[str, Any] = {"metrics": goal.judge(states)}
        except AdaSDEError as error:
            store.put(self.identity, {"error": str(error)})
            return {"error": str(error)}
        result |= {
            "nfe": calls // len(seeds),
            "seconds": round(seconds, 4),
            "images": len(seeds),
        }
        shown = goal.pictures(states[:SHOWN])
        store.put(self.identity, result, None if shown is None else {"images": shown})
        return result


@dataclass(frozen=True)
class Ends:
    """Both ends of ``count`` teacher trajectories: the target of every distillation on this model."""

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
        """Those of the trajectories; never reported, never used to choose."""
        return range(TRAINING_SEED << 32, (TRAINING_SEED << 32) + self.count)

    def compute(self, store: Store) -> dict[str, Any]:
        """Keeps ``states`` [2, count, *shape]."""
        goal = target(self.target)
        grid = schedule(
            "time_uniform", TEACHER_STEPS, sigma_min=goal.sigma_min, sigma_max=goal.sigma_max, rho=1.5
        )

        def states(piece: range) -> Tensor:
            start = latents(piece, goal.shape, dtype=goal.dtype)
            end = integrate.solve(goal.bind(piece), start, grid, "ipndm")
            return torch.stack([start * grid[0], end])

        result = {"seeds": [self.seeds.start, self.seeds.stop]}
        store.put(self.identity, result, {"states": in_chunks(self.seeds, BATCH, states, dim=1)})
        return result


@dataclass(frozen=True)
class Train:
    """Distil ``learned`` on the grid ``sigmas`` against ``ends``."""

    target: str
    learned: Learned
    sigmas: tuple[float, ...]
    afs: bool
    nfe: int
    ends: Ends

    per_evaluation: ClassVar[int] = 3  # forward and backward

    @property
    def identity(self) -> dict[str, Any]:
        """Recipe, grid and teacher."""
        recipe = {"recipe": self.learned.identity(), "sigmas": list(self.sigmas), "afs": self.afs}
        code = code_hash("distill")
        return {"kind": "train", "ends": self.ends.identity, **recipe, "training code": code}

    @property
    def cost(self) -> int:
        """Evaluations."""
        return self.per_evaluation * self.nfe * self.learned.settings.trajectories

    def compute(self, store: Store) -> dict[str, Any]:
        """The coefficient file, beside the cell."""
        goal, settings = target(self.target), self.learned.settings
        states = store.tensors(self.ends.identity)["states"]
        paired = goal.features if settings.feature_weight else None
        batches = batches_of(states, self.ends.seeds, settings.batch, seed=TRAINING_SEED, features=paired)
        grid = torch.tensor(self.sigmas, dtype=torch.float64)
        started = time.perf_counter()
        walk = distill(
            goal.bind(self.ends.seeds[:1]),
            batches,
            grid,
            settings=settings,
            afs=self.afs,
            features=goal.features,
            real=goal.reference,
            bind=goal.bind,
        )
        try:
            *_, last = walk
        except AdaSDEError as error:
            store.put(self.identity, {"error": str(error)})
            return {"error": str(error)}
        path = store.path(self.identity, ".coefficients.json")
        last.coefficients.save(path)
        result = {"table": path.name, "seconds": round(time.perf_counter() - started, 2)}
        store.put(self.identity, result)
        return result
