"""Multistep solvers of the probability-flow ODE: one evaluation a step, earlier ones are remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adasde.sampling.solvers.base import (
    DataPrediction,
    History,
    Interval,
    Solver,
    Step,
    choice,
    newest,
    number,
    remember,
)
from adasde.sampling.solvers.formulas import weighted_sum
from adasde.sampling.solvers.quadrature import VARIABLES, adams_weights, divided_differences
from adasde.sampling.solvers.registry import register
from adasde.types import Denoiser


@register("dpm-3m", order=3, prediction="noise", thresholding=False)
@register("dpm-2m", order=2, prediction="noise", thresholding=False)
@register("dpmpp-3m", order=3, prediction="data")
@register("dpmpp-2m", order=2, prediction="data")
@dataclass(frozen=True)
class DPMpp(DataPrediction):
    """DPM-Solver++ multistep, or with ``prediction="noise"`` DPM-Solver multistep.

    Lu et al., 2211.01095, algorithm 2 and its 3M form; 2206.00927 for the noise. The prediction, clean
    estimate or direction, is a polynomial in lambda, and the exponential in front of it is integrated
    exactly (for two nodes the slope's share as in the paper, a midpoint rule). The first steps, and with
    ``lower_order_final`` the last, use the order that their neighbours allow.

    3M is as its authors publish it, with half of the second derivative: its local error is O(h^3) like
    2M's (measured: h^2.9 to h^3.0). For a true third order see AdamsBashforth and UniPC.
    """

    order: int = number(2, 1, 3, integer=True)
    lower_order_final: bool = True
    prediction: str = choice("data", ("data", "noise"))

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        history = remember(self.clean(denoise), x, t, history, self.order)
        nodes = newest(history, self.order, interval.remaining, self.lower_order_final)
        sigmas, h = [node.sigma for node in nodes], (t / s).log()
        if self.prediction == "data":
            return s / t * x - exponential_sum(sigmas, [node.output for node in nodes], h, -h), history
        return x - s * exponential_sum(sigmas, [node.direction for node in nodes], h, h), history


def exponential_sum(sigmas: Sequence[Tensor], values: Sequence[Tensor], h: Tensor, z: Tensor) -> Tensor:
    """z times the integral over u in [0, 1] of exp((1 - u) z) v(u), v the polynomial through ``values``.

    ``values`` at ``sigmas``, newest first; u = 0 at the newest and 1 a step of ``h`` in lambda later. From
    two nodes the slope's share is (e^z - 1) / 2, not (e^z - 1) / z - 1: they differ by O(z^2).
    """
    growth = torch.expm1(z)
    total = growth * values[0]
    if len(values) == 1:
        return total
    first, *second = divided_differences(sigmas, values, h)
    if not second:
        return total + growth / 2 * first
    return total + (growth / z - 1) * first + ((growth - z) / z**2 - 0.5) * second[0]


ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def adams_bashforth(steps: int, history: int, *, order: int = 3) -> Tensor:
    """iPNDM's weights of every step, float64 [steps, history]: the newest evaluation first, then 0."""
    weights = torch.zeros(steps, history, dtype=torch.float64)
    for i, row in enumerate(weights):
        known = ADAMS_BASHFORTH[min(order, i + 1, history)]
        row[: len(known)] = torch.tensor(known, dtype=torch.float64)
    return weights


@register("ipndm")
@dataclass(frozen=True)
class IPNDM(Solver):
    """Improved pseudo-numerical method: Adams-Bashforth with the weights of equal steps.

    Liu et al., 2202.09778, with lower orders instead of Runge-Kutta for the first steps (Zhang and Chen,
    2204.13902). The weights ignore the grid's spacing, so that the order on a smooth grid is 2 at most.
    """

    order: int = number(3, 1, 4, integer=True)

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        history = remember(denoise, x, t, history, self.order)
        weights = ADAMS_BASHFORTH[len(history)]
        return x + (s - t) * weighted_sum(weights, [node.direction for node in history]), history


@register("deis")
@register("ipndm-v", variable="sigma")
@dataclass(frozen=True)
class AdamsBashforth(Solver):
    """Adams-Bashforth on the directions with the weights of the grid's own spacing.

    x_s = x + sum_j w_j d_j, w_j the integral over the step of the Lagrange polynomials in ``variable``:
    ``time`` of the variance-preserving process is tAB-DEIS (Zhang and Chen, 2204.13902),
    ``sigma`` is iPNDM with variable steps, ``log`` is a polynomial in log sigma. The first steps use the
    order that their neighbours allow.
    """

    order: int = number(3, 1, 4, integer=True)
    variable: str = choice("time", VARIABLES)

    @property
    def scale_free(self) -> bool:
        """Whether the solver commutes with scaling; ``time`` assumes the scale of the data."""
        return self.variable != "time"

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        history = remember(denoise, x, t, history, self.order)
        weights = adams_weights(
            [node.sigma for node in history],
            t,
            s,
            variable=VARIABLES[self.variable],
            density=lambda sigma: sigma,  # d sigma = sigma d log sigma
        )
        return x + weighted_sum(weights, [node.direction for node in history]), history
