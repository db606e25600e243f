"""Denoisers known in closed form, and exact solutions of their probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adasde.types import Denoiser


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

    def sample(self, count: int, *, seed: int) -> Tensor:
        """Exact data [count, *shape], float64; the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        weights = self.weights.double()
        component = torch.multinomial(weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, *self.means.shape[1:], dtype=torch.float64, generator=generator)
        return self.means.double()[component] + self.std * noise


@dataclass(frozen=True)
class ScoreError:
    """``denoise`` with a known, smooth, seeded error, like that of a trained network.

    The error is ``level`` c_out(sigma) g(c_in x, ln sigma / 4) with EDM's c_out = sigma s / sqrt(sigma^2 +
    s^2) and c_in = 1 / sqrt(sigma^2 + s^2) (2206.00364, Table 1): a network whose raw output is off by
    ``level`` everywhere. g is a sum of random cosines with unit mean square, different for every pixel.

    Attributes:
        level: root mean square of the raw output's error, >= 0; trained networks have some 0.01 to 0.1.
        seed: of the random function; the same seed, the same error.
        data_std: s, the standard deviation of the data.
        waves: cosines in the sum; ``frequency``: their standard deviation, in radians per unit of c_in x.
    """

    denoise: Denoiser
    level: float
    seed: int = 0
    data_std: float = 1.0
    waves: int = 64
    frequency: float = 1.0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        scale = (sigma**2 + self.data_std**2).sqrt()
        flat = x.flatten(1)
        generator = torch.Generator().manual_seed(self.seed)
        size: Any = {"dtype": torch.float64, "generator": generator}
        frequencies = torch.randn(flat.shape[1] + 1, self.waves, **size) * self.frequency
        phases = 2 * torch.pi * torch.rand(self.waves, **size)
        amplitudes = torch.randn(self.waves, flat.shape[1], **size) * (2 / self.waves) ** 0.5
        where = torch.cat([flat / scale, (sigma.log() / 4).expand(len(flat), 1)], dim=1)
        wave = (where @ frequencies.to(x) + phases.to(x)).cos() @ amplitudes.to(x)
        error: Tensor = self.level * sigma * self.data_std / scale * wave.reshape(x.shape)
        return self.denoise(x, sigma) + error
