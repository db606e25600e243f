"""Denoisers known in closed form, and exact solutions of their probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Denoiser of data ~ N(mean, std^2 I), of any shape; called as ``denoise(x [B, *shape], sigma)``."""

    mean: float = 0.3
    std: float = 0.7

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.mean + (x - self.mean) * self.std**2 / (self.std**2 + sigma**2)

    def exact(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """The state at noise level ``end`` of the trajectory through ``x`` at ``start``."""
        return self.mean + (x - self.mean) * ((self.std**2 + end**2) / (self.std**2 + start**2)).sqrt()


@dataclass(frozen=True)
class Mixture:
    """Denoiser of data ~ sum_k w_k N(means[k], std^2 I): means [K, *shape], weights [K] > 0 of sum 1.

    D(x, sigma) = (std^2 x + sigma^2 m) / (std^2 + sigma^2), m the mean of ``means`` under the posterior
    of the component given x, whose weights are w_k N(x; means[k], (std^2 + sigma^2) I).
    """

    means: Tensor
    weights: Tensor
    std: float

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        variance = self.std**2 + sigma**2
        means, weights = self.means.to(x), self.weights.to(x)
        distance = (x[:, None] - means).flatten(2).square().sum(2)  # [B, K]
        posterior = torch.softmax(weights.log() - distance / (2 * variance), dim=1)
        mixed = (posterior @ means.flatten(1)).reshape(x.shape)
        return (self.std**2 * x + sigma**2 * mixed) / variance
