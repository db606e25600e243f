"""Losses of the student: distance to the teacher's states and features, and to real data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from adasde.distillation.config import NODE_BY_NODE, DistillSettings
from adasde.distillation.energy import EnergyReference, energy_distance
from adasde.errors import ParamsError
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate
from adasde.sampling.noise import SeededNoise
from adasde.sampling.solvers import sampler_of
from adasde.types import Denoiser

Features = Callable[[Tensor], Tensor]
"""``features(states [B, *shape]) -> [B, F]``, differentiable."""


@dataclass(frozen=True)
class Batch:
    """Teacher trajectories: ``states`` [N+1, B, *shape] at the student's nodes, and their B seeds.

    With ``states`` [2, B, *shape] only both ends are known, which is enough for every grid between them where
    the inner nodes have no weight. ``features`` [B, F]: features of the last states, if already computed.
    """

    seeds: Sequence[int]
    states: Tensor
    features: Tensor | None = None

    def of(self, rows: slice) -> Batch:
        """Trajectories ``rows`` of the batch."""
        known = None if self.features is None else self.features[rows]
        return Batch(self.seeds[rows], self.states[:, rows], known)


@dataclass(frozen=True)
class ImageFeatures:
    """Features of images as evaluation sees them: decoded, and clipped with ``settings.clip``.

    In the loop of the paper's authors, theirs: the features of clip(127.5 x + 128, 0, 255).
    """

    extractor: Features
    settings: DistillSettings
    decode: Callable[[Tensor], Tensor] | None = None

    def __call__(self, states: Tensor) -> Tensor:
        """Features [B, F] of ``states`` [B, *shape]."""
        return self.extractor(self._bounded(states if self.decode is None else self.decode(states)))

    def visible(self, states: Tensor) -> Tensor:
        """``states`` clipped where they are images; those of a latent model as they are."""
        return self._bounded(states) if self.decode is None else states

    def _bounded(self, images: Tensor) -> Tensor:
        if self.settings.loop == NODE_BY_NODE:
            return (127.5 * images + 128).clamp(0, 255) / 127.5 - 1
        return images.clamp(-1, 1) if self.settings.clip else images


class Rollout(NamedTuple):
    """Teacher-matching losses of a student's trajectories, and features [B, F] of their ends (None: unused).

    ``nodes`` and ``feature``: as in ``Errors``.
    """

    nodes: Tensor
    feature: Tensor | None
    features: Tensor | None


class Errors(NamedTuple):
    """Loss terms of a batch: squared errors ``nodes`` [N or 1], of features, and the energy distance.

    ``feature`` and ``energy`` are None where they have no weight.
    """

    nodes: Tensor
    feature: Tensor | None
    energy: Tensor | None


@dataclass(frozen=True)
class Losses:
    """Loss terms with the weights of ``settings``.

    Teacher matching (2510.23285): mean squared error of states at the nodes, and of ``features`` of the last
    states (weight α in the paper). Energy distance to ``real`` [n, F], features of real samples (ours).

    Raises:
        ParamsError: no term has weight, or the energy distance has and there are fewer than two real samples.
    """

    settings: DistillSettings
    features: Features | None = None
    real: Tensor | None = None
    reference: EnergyReference | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        settings = self.settings
        if not settings.energy_weight:
            if settings.pixel_weight or settings.inner_weight or (settings.feature_weight and self.features):
                return
            raise ParamsError(
                "there is nothing to learn from: distill.pixel_weight is 0, and features have no weight or "
                "the model has no extractor of them. Set distill.pixel_weight to 1."
            )
        if self.real is None or len(self.real) < 2:
            raise ParamsError(
                f"energy_weight = {self.settings.energy_weight:g} compares with real samples, and there are "
                "none. Give the features of two at least, or set energy_weight to 0."
            )
        object.__setattr__(self, "reference", EnergyReference.of(self.real))

    def __call__(self, denoise: Denoiser, batch: Batch, coefficients: Coefficients) -> Errors:
        """Loss terms of the student with ``coefficients`` on ``batch``."""
        rollout = self.rollout(denoise, batch, coefficients)
        return Errors(rollout.nodes, rollout.feature, self.energy(rollout.features))

    def rollout(self, denoise: Denoiser, batch: Batch, coefficients: Coefficients) -> Rollout:
        """Student trajectories from the teacher's first states, compared at the nodes that ``batch`` has.

        A learned grid, whose inner nodes differ from the teacher's, is compared at the last node alone.
        Images there are clipped with ``settings.clip``: few steps overshoot far out of [-1, 1], which nobody
        sees, and the error of those values would outweigh all that is seen.
        """
        targets = batch.states[-1:] if self.settings.learn_grid else batch.states[1:]
        solver, noise = sampler_of(coefficients), SeededNoise(batch.seeds)
        x, sigmas, afs = batch.states[0], coefficients.sigmas, coefficients.afs
        states = list(integrate(denoise, x, sigmas, solver, afs=afs, noise=noise))[-len(targets) :]
        pairs = list(zip(states, targets, strict=True))
        pairs[-1] = (self._visible(states[-1]), self._visible(targets[-1]))
        nodes = [(state - target).square().mean() for state, target in pairs]
        return Rollout(torch.stack(nodes), *self._of_ends(states[-1], batch))

    def _visible(self, states: Tensor) -> Tensor:
        return self.features.visible(states) if isinstance(self.features, ImageFeatures) else states

    def _of_ends(self, end: Tensor, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Teacher-matching loss of features, and the features [B, F] of the last states ``end``."""
        extractor = self.features if self.settings.feature_weight > 0 else None
        if extractor is None and self.reference is None:
            return None, None
        found = (self.features or flat)(end)
        if extractor is None:
            return None, found
        return (found - teacher_features(batch, extractor)).square().mean(), found

    def energy(self, features: Tensor | None) -> Tensor | None:
        """Energy distance of the features [B, F] of a complete batch; None where it has no weight."""
        if self.reference is None or features is None:
            return None
        return energy_distance(features, self.reference)

    def total(self, errors: Errors, sigmas: Tensor, *, matching: float = 1.0) -> Tensor:
        """Scalar loss; ``matching`` scales the weights of the teacher-matching terms (``paired_final``)."""
        settings = self.settings
        loss = settings.pixel_weight * errors.nodes[-1]
        if settings.inner_weight:
            scale = (1 + sigmas[1:-1].detach() ** 2).to(errors.nodes)
            loss = loss + settings.inner_weight * (errors.nodes[:-1] / scale).sum()
        if errors.feature is not None:
            loss = loss + settings.feature_weight * errors.feature
        loss = matching * loss
        return loss if errors.energy is None else loss + settings.energy_weight * errors.energy


@torch.no_grad()
def teacher_features(batch: Batch, features: Features) -> Tensor:
    """Features [B, F] of the teacher's last states."""
    return features(batch.states[-1]) if batch.features is None else batch.features


@torch.no_grad()
def features_in_chunks(features: Features, states: Tensor, *, size: int = 256) -> Tensor:
    """Features [n, F] of ``states`` [n, *shape], ``size`` at a time."""
    return torch.cat([features(chunk) for chunk in torch.split(states, size)])


def of_images(
    extractor: Features, settings: DistillSettings, decode: Callable[[Tensor], Tensor] | None = None
) -> ImageFeatures:
    """``extractor``'s features of the images that ``decode`` makes of states (None: states are images)."""
    return ImageFeatures(extractor, settings, decode)


def flat(states: Tensor) -> Tensor:
    """States [B, *shape] as their own features [B, F], for a model without an extractor."""
    return states.flatten(1)
