"""Units of work of the bench: each has an identity and a cost, and computes itself."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import batches_of, distill
from adasde.distillation.losses import of_images
from adasde.errors import AdaSDEError
from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.samplers import Classical, Learned
from adasde.experiments.bench.targets import Target, target
from adasde.experiments.bench.taught import BATCH, TRAINING_SEED, Ends, Nodes, made_by
from adasde.sampling import integrate
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.wrappers import Counting
from adasde.stages.code import code_hash
from adasde.types import Denoiser
from adasde.utils.batching import in_chunks

SHOWN = 24
"""Images of a cell that are kept for the sheets."""


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


def fitting(settings: DistillSettings, goal: Target) -> DistillSettings:
    """``settings`` for a target; without an extractor, a loss of features alone becomes the squared error."""
    if goal.features is not None or settings.pixel_weight or settings.energy_weight:
        return settings
    return replace(settings, pixel_weight=1.0)


@dataclass(frozen=True)
class Train:
    """Distil ``learned`` on the grid ``sigmas`` against the states ``taught``."""

    target: str
    learned: Learned
    sigmas: tuple[float, ...]
    afs: bool
    nfe: int
    taught: Ends | Nodes

    per_evaluation: ClassVar[int] = 3  # forward and backward

    @property
    def identity(self) -> dict[str, Any]:
        """Recipe, grid and teacher."""
        recipe = {"recipe": asdict(self.settings), "sigmas": list(self.sigmas), "afs": self.afs}
        code = code_hash("distill")
        return {"kind": "train", "ends": self.taught.identity, **recipe, "training code": code}

    @property
    def settings(self) -> DistillSettings:
        """The recipe's settings at this budget, on this target."""
        return fitting(self.learned.at(self.nfe), target(self.target))

    @property
    def cost(self) -> int:
        """Evaluations."""
        return self.per_evaluation * self.nfe * self.settings.trajectories

    def compute(self, cache: CellCache) -> dict[str, Any]:
        """The coefficient file, beside the cell."""
        goal, settings = target(self.target), self.settings
        states = cache.tensors(self.taught.identity)["states"]
        features = None if goal.features is None else of_images(goal.features, settings)
        paired = features if settings.feature_weight else None
        batches = batches_of(states, self.taught.seeds, settings.batch, seed=TRAINING_SEED, features=paired)
        grid = torch.tensor(self.sigmas, dtype=torch.float64)
        started = time.perf_counter()
        updates = distill(
            goal.bind(self.taught.seeds[:1]),
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
