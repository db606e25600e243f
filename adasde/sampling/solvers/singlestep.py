"""Single-step solvers of the probability-flow ODE: a step remembers nothing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.solvers.base import History, Interval, Solver, Step
from adasde.sampling.solvers.formulas import between, direction
from adasde.sampling.solvers.registry import register
from adasde.types import Denoiser


@register("euler")
class Euler(Solver):
    """Euler's method, which is DDIM in these coordinates (Song et al., 2010.02502). Order 1."""

    convergence = 1

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        return x + (s - t) * direction(denoise, x, t), history


@register("heun")
class Heun(Solver):
    """Heun's method, EDM's deterministic sampler (Karras et al., 2206.00364, algorithm 1). Order 2."""

    evaluations = 2

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        d = direction(denoise, x, t)
        d_next = direction(denoise, x + (s - t) * d, s)
        return x + (s - t) * (d + d_next) / 2, history


@register("dpm2")
@dataclass(frozen=True)
class DPM2(Solver):
    """DPM-Solver-2 with its midpoint at m = s^r t^(1-r) (Lu et al., 2206.00927, algorithm 4). Order 2."""

    r: float = 0.5

    evaluations = 2

    def __post_init__(self) -> None:
        if not 0 < self.r < 1:
            raise SolverError(f"dpm2 needs 0 < r < 1, got r={self.r}.")

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        m = between(t, s, self.r)
        d = direction(denoise, x, t)
        d_m = direction(denoise, x + (m - t) * d, m)
        share = 1 / (2 * self.r)
        return x + (s - t) * ((1 - share) * d + share * d_m), history
