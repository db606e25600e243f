"""What distillation minimises: the student's errors at the nodes, in features, and as a distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from adasde.distillation.config import DistillSettings
from adasde.distillation.energy import Reference, energy_distance
from adasde.errors import ParamsError
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate
from adasde.sampling.noise import SeededNoise
from adasde.sampling.solvers import sampler_of
from adasde.types import Denoiser

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """Teacher trajectories: ``states`` [N+1, B, *shape] at the student's nodes, and their B seeds.

    [2, B, *shape] holds both ends alone: enough where the inner nodes have no weight in the loss, and the
    same for every grid between these ends. ``features`` [B, F]: those of the last states, where they are
    known already.
    """

    seeds: Sequence[int]
    states: Tensor
    features: Tensor | None = None

    def of(self, rows: slice) -> Batch:
        """Some samples of it."""
        known = None if self.features is None else self.features[rows]
        return Batch(self.seeds[rows], self.states[:, rows], known)


class Walked(NamedTuple):
    """The paired errors of the student's walk, as in ``Errors``, and the features [B, F] of its ends.

    ``seen`` is None where nothing looks at features.
    """

    nodes: Tensor
    feature: Tensor | None
    seen: Tensor | None


class Errors(NamedTuple):
    """Of one batch: ``nodes`` [N or 1], mean squared; ``feature`` and ``energy``, None where not wanted."""

    nodes: Tensor
    feature: Tensor | None
    energy: Tensor | None


@dataclass(frozen=True)
class Losses:
    """``settings`` says what counts; ``features`` of last states, ``real`` the features of real samples.

    Raises:
        ParamsError: an energy distance is asked for and there are no two real samples.
    """

    settings: DistillSettings
    features: Features | None = None
    real: Tensor | None = None
    reference: Reference | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.settings.energy_weight and (self.real is None or len(self.real) < 2):
            raise ParamsError(
                f"energy_weight = {self.settings.energy_weight:g} compares with real samples, and there are "
                "none. Give the features of two at least, or set energy_weight to 0."
            )
        if self.settings.energy_weight and self.real is not None:
            object.__setattr__(self, "reference", Reference.of(self.real))

    def __call__(self, denoise: Denoiser, batch: Batch, table: Coefficients) -> Errors:
        """The student's errors at the nodes that ``batch`` has.

        With a learned grid, whose inner nodes are not the teacher's, at the last alone.
        """
        walked = self.walk(denoise, batch, table)
        return Errors(walked.nodes, walked.feature, self.energy(walked.seen))

    def walk(self, denoise: Denoiser, batch: Batch, table: Coefficients) -> Walked:
        """All but the energy distance, the only error that is no mean over samples."""
        targets = batch.states[-1:] if self.settings.learn_grid else batch.states[1:]
        solver, noise = sampler_of(table), SeededNoise(batch.seeds)
        walk = integrate(denoise, batch.states[0], table.sigmas, solver, afs=table.afs, noise=noise)
        states = list(walk)[-len(targets) :]
        nodes = [(state - target).square().mean() for state, target in zip(states, targets, strict=True)]
        return Walked(torch.stack(nodes), *self._of_ends(states[-1], batch))

    def _of_ends(self, end: Tensor, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        paired = self.features is not None and self.settings.feature_weight > 0
        if not paired and self.reference is None:
            return None, None
        features = self.features or flat
        seen, feature = features(end), None
        if paired:
            feature = (seen - known_features(batch, features)).square().mean()
        return feature, seen

    def energy(self, seen: Tensor | None) -> Tensor | None:
        """The energy distance of the features ``seen`` of a whole batch, where it has weight."""
        if self.reference is None or seen is None:
            return None
        return energy_distance(seen, self.reference)

    def total(self, errors: Errors, sigmas: Tensor, *, paired: float = 1.0) -> Tensor:
        """The scalar that is minimised; ``paired`` is what is left of the weights of paired errors."""
        settings = self.settings
        loss = settings.pixel_weight * errors.nodes[-1]
        if settings.inner_weight:
            scale = (1 + sigmas[1:-1].detach() ** 2).to(errors.nodes)
            loss = loss + settings.inner_weight * (errors.nodes[:-1] / scale).sum()
        if errors.feature is not None:
            loss = loss + settings.feature_weight * errors.feature
        loss = paired * loss
        return loss if errors.energy is None else loss + settings.energy_weight * errors.energy


@torch.no_grad()
def known_features(batch: Batch, features: Features) -> Tensor:
    """Features [B, F] of the last states of ``batch``, computed where they did not come with it."""
    return features(batch.states[-1]) if batch.features is None else batch.features


@torch.no_grad()
def in_parts(features: Features, states: Tensor, *, size: int = 256) -> Tensor:
    """Features [n, F] of ``states`` [n, *shape], ``size`` computed together."""
    return torch.cat([features(part) for part in torch.split(states, size)])


def flat(states: Tensor) -> Tensor:
    """The features of a model without an extractor: the states themselves, [B, F]."""
    return states.flatten(1)
