"""UniPC: a multistep predictor-corrector of the probability-flow ODE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adasde.sampling.solvers.base import DataPrediction, History, Interval, Node, Step, choice, newest, number
from adasde.sampling.solvers.formulas import weighted_sum
from adasde.sampling.solvers.registry import register
from adasde.types import Denoiser


@register("unipc-3", order=3)
@register("unipc")
@dataclass(frozen=True)
class UniPC(DataPrediction):
    """UniPC with data prediction (Zhao et al., 2302.04867, algorithms 1 and 2 in their multistep form).

    The evaluation at the predicted state of a node first corrects that state (UniC) and then predicts the
    next one (UniP); the node remembers the corrected state with the output at the predicted one. The last
    state is not corrected: that would take another evaluation. The first steps, and with
    ``lower_order_final`` the last, use the order that their neighbours allow.

    Attributes:
        order: 1 to 3, of the predictor; the corrected states are one order better.
        variant: B(h) of the paper, ``bh1``: h, ``bh2``: e^h - 1.
    """

    order: int = number(2, 1, 3, integer=True)
    variant: str = choice("bh2", ("bh1", "bh2"))
    lower_order_final: bool = True

    @property
    def convergence(self) -> int:
        """2 where the last step is an Euler step; else one more than the predictor's, at most 3."""
        return 2 if self.lower_order_final else min(self.order + 1, 3)

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        here = Node(interval.start, x, self.clean(denoise)(x, interval.start))
        if history:
            base, *older = newest(history, self.order, interval.remaining + 1, self.lower_order_final)
            here = replace(here, state=unified(base, [*older, here], here.sigma, self.variant))
        history = (here, *history)[: self.order]
        base, *older = newest(history, self.order, interval.remaining, self.lower_order_final)
        return unified(base, older, interval.end, self.variant), history


def unified(base: Node, others: Sequence[Node], s: Tensor, variant: str) -> Tensor:
    """State at s from that of ``base``, with the outputs of ``base`` and of ``others``.

    x_s = (s/t) x + (1 - e^-h) D_0 - B sum_m a_m (D_m - D_0) / r_m, r_m the place of node m in units of h.
    Predictor: the others are older; corrector: the last of them is the evaluation at s.
    """
    t = base.sigma
    z = (s / t).log()  # -h
    decay = torch.expm1(z)
    x = s / t * base.state - decay * base.output
    if not others:
        return x
    r = torch.stack([(node.sigma / t).log() / z for node in others])
    scale = z if variant == "bh1" else decay
    slopes = [(node.output - base.output) / r_m for node, r_m in zip(others, r.unbind(), strict=True)]
    return x - scale * weighted_sum(matching(r, z, scale).unbind(), slopes)


def matching(r: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """The a_m that match the exact solution to order len(r): R a = b (2302.04867, theorem 3.1).

    R_km = r_m^(k-1), b_k = k! psi_k / B with psi_1 = (e^z - 1) / z - 1, psi_(k+1) = psi_k / z - 1 / (k+1)!.
    A single unknown is 1/2 for every h, as the authors take it; the order is the same.
    """
    if len(r) == 1:
        return torch.full_like(r, 0.5)
    psi, right = torch.expm1(z) / z - 1, []
    for k in range(1, len(r) + 1):
        right.append(math.factorial(k) * psi / scale)
        psi = psi / z - 1 / math.factorial(k + 1)
    rows = torch.stack([r**k for k in range(len(r))])
    solution: Tensor = torch.linalg.solve(rows, torch.stack(right))
    return solution
