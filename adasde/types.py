"""What the parts agree on: denoisers, models, feature extractors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Noise = Callable[[int, Tensor], Tensor]
"""``noise(step, like)`` returns standard normal noise of the shape, dtype and device of ``like``."""


class Denoiser(Protocol):
    """``D(x, sigma) -> x0``, the posterior mean in the variance-exploding form x = x0 + sigma * eps.

    ``x`` is [B, *shape]; ``sigma`` is a scalar tensor of x's dtype and device, in the units of the
    data (EDM's convention, arXiv 2206.00364); the result has the shape and dtype of ``x``.
    """

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor: ...


class FeatureExtractor(Protocol):
    """``features(images) -> [B, F]`` for images [B, C, H, W] in [-1, 1]; differentiable."""

    name: str
    sha256: str

    def __call__(self, images: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Model:
    """A frozen pre-trained model at the edge of the project: already in EDM's coordinates."""

    name: str
    denoise: Denoiser
    shape: tuple[int, ...]  # of one sample, for instance (1, 8, 8)
    sigma_min: float
    sigma_max: float
    sha256: str  # of the checkpoint file
