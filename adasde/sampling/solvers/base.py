"""What all solvers share: one step's view of the walk, its memory, and the pieces of their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adasde.errors import SolverError
from adasde.sampling.schedules import unknown
from adasde.types import Denoiser


@dataclass(frozen=True)
class Node:
    """An evaluation of an earlier step: D(state, sigma) = output, and the noise drawn there, if any."""

    sigma: Tensor
    state: Tensor
    output: Tensor
    noise: Tensor | None = None

    @cached_property
    def direction(self) -> Tensor:
        """dx/dsigma of the probability-flow ODE at the node; computed once, remembered for later steps."""
        return (self.state - self.output) / self.sigma


History = tuple[Node, ...]
"""Earlier nodes, newest first."""


@dataclass(frozen=True)
class Interval:
    """What one step may know: from ``start`` to ``end``, ``remaining`` steps after this one.

    ``noise(like)`` draws the step's standard normal noise; every call within one step gives the same.
    """

    index: int
    start: Tensor
    end: Tensor
    remaining: int
    noise: Callable[[Tensor], Tensor]

    @property
    def total(self) -> int:
        """Number of steps of the whole walk."""
        return self.index + 1 + self.remaining


class Solver(Protocol):
    """One step of a sampler.

    ``evaluations``: denoiser calls of a step; ``convergence``: the global order on a smooth grid from a
    cold start (without noise, where noise can be turned off); ``stochastic``: steps draw noise. The class
    may carry ``quiet``, the options that turn its noise off, and ``scale_free``, False where data and noise
    levels cannot be scaled together.
    """

    @property
    def evaluations(self) -> int: ...
    @property
    def convergence(self) -> int: ...
    @property
    def stochastic(self) -> bool: ...

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]: ...


def direction(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """dx/dsigma of the probability-flow ODE (Karras et al., 2206.00364, eq. 1 with s = 1, sigma = t)."""
    return (x - denoise(x, sigma)) / sigma


def between(t: Tensor, s: Tensor, r: float | Tensor) -> Tensor:
    """The noise level s^r t^(1-r): t at r = 0, s at r = 1, the geometric mean at r = 1/2."""
    return t ** (1 - r) * s**r


def inject(x: Tensor, t: Tensor, gamma: Tensor, noise: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Raise the noise level from t to (1 + gamma) t; at gamma = 0 nothing is drawn and nothing changes."""
    if not float(gamma.detach()) > 0:
        return x, t
    return x + t * (gamma * (2 + gamma)).sqrt() * noise(x), (1 + gamma) * t


def plus(x: Tensor, factors: Tensor, terms: Sequence[Tensor]) -> Tensor:
    """``x + sum_j factors[j] terms[j]``: one operation a term, and the same bits with and without a graph.

    ``x`` and at most J ``terms`` are [B, *shape]; ``factors`` [J] are float64 on the CPU, and those beyond
    the last term are not read. First derivatives only; ``torch.func`` and second ones are refused by torch.
    """
    if not torch.is_grad_enabled():
        return _plus(x, factors, terms)
    out: Tensor = _Plus.apply(x, factors, *terms)  # type: ignore[no-untyped-call]
    return out


def _plus(x: Tensor, factors: Tensor, terms: Sequence[Tensor]) -> Tensor:
    for factor, term in zip(factors.tolist(), terms, strict=False):
        x = torch.add(x, term, alpha=factor)
    return x


class _Plus(torch.autograd.Function):
    """``_plus`` with its first derivatives; asking for second ones is an error."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor, *terms: Tensor) -> Tensor:
        ctx.save_for_backward(factors, *terms)
        return _plus(x, factors, terms)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (factors, *terms) = gradients, ctx.saved_tensors
        of_factors = None
        if ctx.needs_input_grad[1]:
            sums = torch.stack([(gradient * term).sum() for term in terms]).to(factors)
            of_factors = torch.cat([sums, factors.new_zeros(len(factors) - len(terms))])
        asked = zip(factors.tolist(), ctx.needs_input_grad[2:], strict=False)
        return gradient, of_factors, *(factor * gradient if needed else None for factor, needed in asked)


def weighted_sum(weights: Iterable[float | Tensor], terms: Iterable[Tensor]) -> Tensor:
    """``sum_j weights[j] terms[j]``, of equally many (at least one) weights and terms."""
    first, *others = (weight * term for weight, term in zip(weights, terms, strict=True))
    for term in others:
        first = first + term
    return first


def check_order(name: str, order: int, highest: int) -> None:
    """Refuse an order that a multistep solver does not have (SolverError)."""
    if order not in range(1, highest + 1):
        raise SolverError(f"{name} has orders 1 to {highest}, got order={order!r}.")


def check_range(
    name: str, option: str, value: float, low: float, high: float = math.inf, *, whole: bool = False
) -> None:
    """Refuse a number that is not finite, not in [low, high], or not whole where it must be (SolverError)."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        allowed = f"{low} or more" if high == math.inf else f"from {low} to {high}"
        raise SolverError(f"{name} needs {option} to be {kind} {allowed}, got {option}={value!r}.")


def check_choice(name: str, option: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a word that the option does not know (SolverError)."""
    if value not in allowed:
        raise SolverError(f"{name}: " + unknown(option, str(value), allowed))


def newest(history: History, order: int, remaining: int, lower_order_final: bool) -> History:
    """The ``order`` newest nodes; with ``lower_order_final`` no more than steps are left, this one too.

    ``remaining``: steps after the one that uses the nodes.
    """
    return history[: min(order, remaining + 1) if lower_order_final else order]


def remember(denoise: Denoiser, x: Tensor, sigma: Tensor, history: History, keep: int) -> History:
    """Evaluate at (x, sigma) and put the node in front of ``history``; the ``keep`` newest stay."""
    return (Node(sigma, x, denoise(x, sigma)), *history)[:keep]
