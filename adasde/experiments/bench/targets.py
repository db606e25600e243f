"""Models that samplers are compared on: bundled ones, and exact mixtures with a controlled score error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from adasde.distillation.energy import LIMIT
from adasde.errors import ParamsError
from adasde.experiments.bench.distances import sliced_wasserstein
from adasde.sampling.analytic import Mixture, ScoreError
from adasde.types import Denoiser

MIXTURE = "mixture"
TRUTH_SEED = 77
"""Seed of the exact samples that a mixture's samples are compared with."""

TRAINING_SEED = 78
"""Seed of the exact samples that learned samplers are trained on."""


class Target(Protocol):
    """A model to sample from, and the metrics of its samples. Lower is better for every metric."""

    name: str
    shape: tuple[int, ...]
    sigma_min: float
    sigma_max: float
    dtype: torch.dtype
    metrics: tuple[str, ...]  # the first one decides
    features: Callable[[Tensor], Tensor] | None  # for the distillation loss
    reference: Tensor  # features of real samples, for the energy distance (without ``features``: the samples)
    identity: dict[str, Any]  # of the target, as JSON: part of every cell's identity

    def bind(self, seeds: Sequence[int]) -> Denoiser:
        """The denoiser for the samples of these seeds."""
        ...

    def evaluate(self, states: Tensor) -> dict[str, float]:
        """The metrics of final states [n, *shape]."""
        ...

    def pictures(self, states: Tensor) -> Tensor | None:
        """The states as uint8 images [n, C, H, W]; None if they are not images."""
        ...


class ModelTarget:
    """A bundled model: FID of its images against the real ones, in its own extractor's features."""

    dtype = torch.float32
    metrics: tuple[str, ...] = ("fid",)

    def __init__(self, name: str) -> None:
        from adasde.evaluation.features import load_features
        from adasde.evaluation.metrics import Statistics, image_features
        from adasde.models.families.toy.data import real_images
        from adasde.models.loading import load_model

        self.model, self.extractor = load_model(name), load_features(name)
        self.features: Callable[[Tensor], Tensor] | None = self.extractor
        real = real_images(name)
        known = image_features(real, self.extractor)
        self.real, self.reference = Statistics.of(known), known.float()
        self.name, self.shape = self.model.name, self.model.shape
        self.sigma_min, self.sigma_max = self.model.sigma_min, self.model.sigma_max
        self.identity = {
            "target": self.name,
            "weights": self.model.sha256,
            "extractor": self.extractor.sha256,
            "real images": len(real),
        }

    def bind(self, seeds: Sequence[int]) -> Denoiser:
        """The model's denoiser, with the condition of these seeds."""
        return self.model.bind(seeds)

    def evaluate(self, states: Tensor) -> dict[str, float]:
        """FID of the images."""
        from adasde.evaluation.metrics import fid, image_features

        return {"fid": fid(image_features(self.pictures(states), self.extractor), self.real)}

    def pictures(self, states: Tensor) -> Tensor:
        """The images, uint8 [n, C, H, W]."""
        from adasde.utils.pixels import to_uint8

        return to_uint8(self.model.images(states))


class MixtureTarget:
    """Eight Gaussians in 16 dimensions whose exact samples are known; ``level``: see ``ScoreError``.

    Distances between the states and exact samples: sliced Wasserstein-2, and Fréchet's between the moments.
    """

    dtype = torch.float64
    metrics: tuple[str, ...] = ("sliced_wasserstein", "frechet")
    shape: tuple[int, ...] = (16,)
    sigma_min, sigma_max = 0.002, 80.0
    features: Callable[[Tensor], Tensor] | None = None

    def __init__(self, level: float = 0.0) -> None:
        self.name = MIXTURE if level == 0 else f"{MIXTURE}:{level:g}"
        generator = torch.Generator().manual_seed(16)
        means = torch.randn(8, *self.shape, dtype=torch.float64, generator=generator)
        weights = torch.rand(8, dtype=torch.float64, generator=generator) + 0.5
        self.exact = Mixture(means, weights / weights.sum(), 0.25)
        self.denoise: Denoiser = ScoreError(self.exact, level) if level else self.exact
        self.reference = self.exact.sample(LIMIT, seed=TRAINING_SEED)
        self.identity = {"target": self.name, "level": level}

    def bind(self, seeds: Sequence[int]) -> Denoiser:
        """The denoiser, which has no condition."""
        return self.denoise

    def evaluate(self, states: Tensor) -> dict[str, float]:
        """Distances to exact samples, four for every state."""
        from adasde.evaluation.metrics import fid

        truth = self.exact.sample(4 * len(states), seed=TRUTH_SEED)
        flat, wanted = states.flatten(1).double(), truth.flatten(1)
        return {"sliced_wasserstein": sliced_wasserstein(flat, wanted), "frechet": fid(flat, wanted)}

    def pictures(self, states: Tensor) -> Tensor | None:
        """None: the states are points in 16 dimensions."""
        return None


@cache
def target(spec: str) -> Target:
    """The target of that name: a bundled model, ``mixture``, or ``mixture:LEVEL`` with a score error.

    Raises:
        ParamsError: a score error that is not a number >= 0.
        CheckpointError: no such model (names the known ones).
    """
    name, _, level = spec.partition(":")
    if name != MIXTURE:
        return ModelTarget(spec)
    try:
        value = float(level or 0)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10:
        raise ParamsError(f"{spec!r}: the score error after 'mixture:' must be a number from 0 to 10.")
    return MixtureTarget(value)
