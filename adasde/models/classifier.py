"""The digit classifier; what stands before its last layer serves as the feature extractor of the metrics."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DigitClassifier(nn.Module):
    """Images [B, 1, 8, 8] in [-1, 1] -> logits [B, 10]; ``features`` gives the normalised layer before.

    SiLU everywhere: gradients with respect to the images vanish nowhere, also outside [-1, 1].
    ``mean`` and ``std`` [units] are those of the real images, so that every unit weighs the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, channels: int = 32, units: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(16 * channels, units),
            nn.SiLU(),
        )
        self.head = nn.Linear(units, classes)
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("std", torch.ones(units))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes]."""
        return self.head(self.body(images))

    def features(self, images: Tensor) -> Tensor:
        """Normalised features [B, units], float32; differentiable in ``images``."""
        return (self.body(images.float()) - self.mean) / self.std
