"""Interfaces that the packages share: denoisers, models, feature extractors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from adasde.errors import SolverError

Noise = Callable[[int, Tensor], Tensor]
"""``noise(step, like)``: standard normal noise with the shape, dtype and device of ``like``."""


Summary = dict[str, Any]
"""What a stage did, as JSON values; ``out`` is what it wrote."""


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
    """A frozen pre-trained model in EDM's coordinates.

    ``denoise`` is unconditional; a conditional model also has ``condition(seeds, guidance)`` for ``bind``.
    Samples of a latent model become images by ``images``.
    """

    name: str
    denoise: Denoiser
    shape: tuple[int, ...]  # of one sample, for instance (1, 8, 8)
    sigma_min: float
    sigma_max: float
    sha256: str  # of the checkpoint file
    classes: int = 0  # of a class-conditional model
    condition: Callable[[Sequence[int], float], Denoiser] | None = None
    decode: Callable[[Tensor], Tensor] | None = None  # of a latent model: samples -> images
    guidance: float = 1.0  # default of ``bind``
    prompts: Sequence[str] = ()  # of a text-to-image model
    prediction_type: str | None = None  # what the network of a pipeline of diffusers predicts
    device: str = "cpu"  # of the network and of its inputs

    def bind(self, seeds: Sequence[int], guidance: float | None = None) -> Denoiser:
        """Denoiser for the batch of these ``seeds``, conditioned on their classes or prompts.

        Image k has class ``seeds[k] % classes``, or the prompt of that index. ``guidance`` g is the scale of
        classifier-free guidance, D = D_null + g (D_class - D_null), which costs two evaluations a call
        unless g = 1; for a model with a classifier, the scale of its gradient. None: the model's default.

        Raises:
            SolverError: guidance of a model without classes.
        """
        guidance = self.guidance if guidance is None else guidance
        if self.condition is not None:
            return self.condition(seeds, guidance)
        if guidance != 1:
            raise SolverError(f"the model {self.name!r} has no classes to guide to; leave guidance at 1.")
        return self.denoise

    def images(self, samples: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] (not clipped), differentiable, of samples [B, *shape]."""
        return samples if self.decode is None else self.decode(samples)
