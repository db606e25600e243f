"""Units of work of the bench: each has an identity and a cost, and computes itself."""

from __future__ import annotations

import functools
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from adasde.distillation.distill import batches_of, distill
from adasde.distillation.losses import of_images
from adasde.errors import AdaSDEError
from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.samplers import Classical, Learned
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
"""iPNDM steps (time_uniform, rho = 1.5) of the teacher's trajectories."""

TRAINING_SEED = 0


class Cell(Protocol):
    """A unit of work: computed in any process, cached under the hash of its identity."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON."""
        ...

    @property
    def cost(self) -> int:
        """Approximate number of network evaluations; one with its gradient counts as three."""
        ...

    def compute(self, cache: CellCache) -> dict[str, Any]:
        """The result as JSON, which is put into ``cache`` too."""
        ...


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler with all its settings: a classical one on ``sigmas``, or (``table``) a coefficient file."""

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


@functools.cache
def made_by(spec: str) -> dict[str, Any]:
    """What every result on this target depends on: the target, torch's version, our code."""
    return {
        **target(spec).identity,
        "torch": torch.__version__,
        "code": code_hash("sample"),
    }


@dataclass(frozen=True)
class Measure:
    """Metrics of the samples of the seeds ``start`` .. ``stop`` - 1; ``nfe``: evaluations per sample."""

    target: str
    sampler: SamplerSpec
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

    def compute(self, cache: CellCache) -> dict[str, Any]:
        """Metrics, measured NFE and seconds; or ``error`` if the sampler broke down."""
        goal, seeds = target(self.target), range(self.start, self.stop)
        calls = 0

        def draw(chunk: range) -> Tensor:
            nonlocal calls
            counting = Counting(goal.bind(chunk))
            latent = latents(chunk, goal.shape, dtype=goal.dtype)
            states = self.sampler.draw(counting, latent, chunk)
            calls += counting.nfe * len(chunk)
            return states

        started = time.perf_counter()
        try:
            states = in_chunks(seeds, BATCH, draw)
            seconds = time.perf_counter() - started
            result: dict[str, Any] = {"metrics": goal.evaluate(states)}
        except AdaSDEError as error:
            return cache.put(self.identity, {"error": str(error)})
        result |= {
            "nfe": calls // len(seeds),
            "seconds": round(seconds, 4),
            "images": len(seeds),
        }
        shown = goal.pictures(states[:SHOWN])
        return cache.put(self.identity, result, None if shown is None else {"images": shown})


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

    def compute(self, cache: CellCache) -> dict[str, Any]:
        """The coefficient file, beside the cell."""
        goal, settings = target(self.target), self.learned.settings
        states = cache.tensors(self.ends.identity)["states"]
        features = None if goal.features is None else of_images(goal.features, settings)
        paired = features if settings.feature_weight else None
        batches = batches_of(states, self.ends.seeds, settings.batch, seed=TRAINING_SEED, features=paired)
        grid = torch.tensor(self.sigmas, dtype=torch.float64)
        started = time.perf_counter()
        updates = distill(
            goal.bind(self.ends.seeds[:1]),
            batches,
            grid,
            settings=settings,
            afs=self.afs,
            features=features,
            real=goal.reference,
            bind=goal.bind,
        )
        try:
            *_, last = updates
        except AdaSDEError as error:
            return cache.put(self.identity, {"error": str(error)})
        path = cache.path(self.identity, ".coefficients.json")
        last.coefficients.save(path)
        result = {"table": path.name, "seconds": round(time.perf_counter() - started, 2)}
        return cache.put(self.identity, result)
