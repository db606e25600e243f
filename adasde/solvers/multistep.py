"""Multistep solvers of the probability-flow ODE: one evaluation a step, earlier ones remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adasde.solvers.base import History, Interval, check_order, divided_differences, remember
from adasde.types import Denoiser


@dataclass(frozen=True)
class DPMpp:
    """DPM-Solver++ multistep, data prediction (Lu et al., 2211.01095, algorithm 2 and its 3M form).

    The first steps, and with ``lower_order_final`` the last, use the order that their neighbours allow.
    """

    order: int = 2
    lower_order_final: bool = True

    evaluations: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_order("dpmpp", self.order, 3)

    @property
    def convergence(self) -> int:
        """Its order, but at most 2: the first step is an Euler step."""
        return min(self.order, 2)

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        history = remember(denoise, x, t, history, self.order)
        final_order = interval.remaining + 1 if self.lower_order_final else self.order
        usable = history[: min(self.order, final_order)]
        h = (t / s).log()
        decay = torch.expm1(-h)  # exp(-h) - 1
        x = s / t * x - decay * usable[0].output
        if len(usable) > 1:
            first, *second = divided_differences(
                [node.sigma for node in usable], [node.output for node in usable], h
            )
            x = x + (decay / h + 1) * first if second else x - decay / 2 * first
            if second:
                x = x - ((decay + h) / h**2 - 0.5) * second[0]
        return x, history


ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@dataclass(frozen=True)
class IPNDM:
    """Improved pseudo-numerical method: Adams-Bashforth with the weights of equal steps.

    Liu et al., 2202.09778, with lower orders instead of Runge-Kutta for the first steps (Zhang and Chen,
    2204.13902). The weights ignore the grid's spacing, so that the order on a smooth grid is 2 at most.
    """

    order: int = 3

    evaluations: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_order("ipndm", self.order, 4)

    @property
    def convergence(self) -> int:
        """1 for order 1, else 2."""
        return min(self.order, 2)

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        history = remember(denoise, x, t, history, self.order)
        weights = ADAMS_BASHFORTH[len(history)]
        combined = sum(weight * node.direction for weight, node in zip(weights, history, strict=True))
        return x + (s - t) * combined, history
