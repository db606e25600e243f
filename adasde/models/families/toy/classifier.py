"""The classifiers of the bundled models; their last hidden layer gives the features of the metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Images [B, *shape] in [-1, 1] -> logits [B, classes]; ``features`` gives the normalised layer before.

    Convolutions, the first at full resolution, each further one halving it, then a hidden layer. SiLU
    everywhere: gradients with respect to the images vanish nowhere, also outside [-1, 1]. ``mean`` and
    ``std`` [units] are those of the real images, so that every unit weighs the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, shape: Sequence[int], *, channels: Sequence[int] = (32, 32), units: int = 32, classes: int = 10
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stride, (before, after) in enumerate(pairwise([shape[0], *channels]), 1):
            layers += [nn.Conv2d(before, after, 3, padding=1, stride=min(stride, 2)), nn.SiLU()]
        pixels = math.prod(side >> (len(channels) - 1) for side in shape[1:])
        hidden = nn.Linear(pixels * channels[-1], units)
        self.body = nn.Sequential(*layers, nn.Flatten(), hidden, nn.SiLU())
        self.head = nn.Linear(units, classes)
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("std", torch.ones(units))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes]."""
        return self.head(self.body(images))

    def features(self, images: Tensor) -> Tensor:
        """Normalised features [B, units], float32; differentiable in ``images``."""
        return (self.body(images.float()) - self.mean) / self.std

    @torch.no_grad()
    def normalise(self, images: Tensor) -> None:
        """Let ``mean`` and ``std`` be those of ``images`` [n, *shape], the real ones."""
        activations = self.body(images)
        self.mean.copy_(activations.mean(0))
        self.std.copy_(activations.std(0))

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Share of ``images`` recognised as their ``labels`` [n]."""
        return (self(images).argmax(1) == labels).float().mean().item()
