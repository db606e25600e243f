"""Single-step solvers of the probability-flow ODE: nothing is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.solvers.base import History, Interval, between, direction
from adasde.types import Denoiser


@dataclass(frozen=True)
class Euler:
    """Euler's method, which is DDIM in these coordinates (Song et al., 2010.02502). Order 1."""

    evaluations: ClassVar[int] = 1
    convergence: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        return x + (s - t) * direction(denoise, x, t), history


@dataclass(frozen=True)
class Heun:
    """Heun's method, EDM's deterministic sampler (2206.00364, algorithm 1). Order 2."""

    evaluations: ClassVar[int] = 2
    convergence: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        d = direction(denoise, x, t)
        d_next = direction(denoise, x + (s - t) * d, s)
        return x + (s - t) * (d + d_next) / 2, history


@dataclass(frozen=True)
class DPM2:
    """DPM-Solver-2 with its point at s^r t^(1-r) (Lu et al., 2206.00927, algorithm 4). Order 2."""

    r: float = 0.5

    evaluations: ClassVar[int] = 2
    convergence: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.r < 1:
            raise SolverError(f"dpm2 needs 0 < r < 1, got r={self.r}.")

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        middle = between(t, s, self.r)
        d = direction(denoise, x, t)
        d_middle = direction(denoise, x + (middle - t) * d, middle)
        share = 1 / (2 * self.r)
        return x + (s - t) * ((1 - share) * d + share * d_middle), history
