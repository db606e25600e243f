"""The base class of solvers, what a step sees and remembers, and the terms that their formulas share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

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
        """dx/dsigma of the probability-flow ODE at the node [B, *shape]; computed once."""
        return (self.state - self.output) / self.sigma


History = tuple[Node, ...]
"""Earlier nodes, newest first."""


@dataclass(frozen=True)
class Interval:
    """A step's noise levels, from ``start`` down to ``end``, and its place in the trajectory.

    ``remaining``: steps after this one. ``noise(like)``: the step's standard normal noise; every call within
    one step gives the same.
    """

    index: int
    start: Tensor
    end: Tensor
    remaining: int
    noise: Callable[[Tensor], Tensor]

    @property
    def total(self) -> int:
        """Number of steps of the trajectory."""
        return self.index + 1 + self.remaining


Step = tuple[Tensor, History]
"""What a step returns: the state at its end, and the history for the next step."""


def number(default: float, low: float, high: float = math.inf, *, integer: bool = False) -> Any:
    """An option of a solver: a finite number in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high, "integer": integer})


def choice(default: str, among: Iterable[str]) -> Any:
    """An option of a solver: one of the words ``among``."""
    return field(default=default, metadata={"among": tuple(among)})


@dataclass(frozen=True)
class Solver(ABC):
    """One step of a sampler; subclasses are frozen dataclasses whose fields are the solver's options.

    Attributes:
        noise_option: the option that scales the noise; at 0 the solver is deterministic. None: no noise.

    Raises:
        SolverError: an option is out of range.
    """

    noise_option: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        for option in fields(self):
            check(type(self).__name__, option.name, getattr(self, option.name), **option.metadata)

    @property
    def evaluations(self) -> int:
        """Denoiser calls of a step."""
        return 1

    @property
    def convergence(self) -> int:
        """Global order on a smooth grid from a cold start, without noise: 2 at most after an Euler step."""
        return min(getattr(self, "order", 2), 2)

    @property
    def stochastic(self) -> bool:
        """Whether steps draw noise."""
        return self.noise_option is not None and getattr(self, self.noise_option) > 0

    @property
    def scale_free(self) -> bool:
        """Whether the solver commutes with scaling data and noise levels together."""
        return True

    @abstractmethod
    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        """Step from the state ``x`` [B, *shape] at ``interval.start`` to ``interval.end``."""


def check(
    solver: str,
    option: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    integer: bool | None = None,
    among: Sequence[str] = (),
) -> None:
    """Raise SolverError for an option that is not in [low, high], not an integer, or not ``among`` words."""
    if among and value not in among:
        raise SolverError(f"{solver}: " + unknown(option, str(value), among))
    if integer is None:
        return
    finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not finite or not low <= value <= high or (integer and value != int(value)):
        kind = "a whole number" if integer else "a number"
        allowed = f"{low} or more" if high == math.inf else f"from {low} to {high}"
        raise SolverError(f"{solver} needs {option} to be {kind} {allowed}, got {option}={value!r}.")


def direction(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """dx/dsigma of the probability-flow ODE (Karras et al., 2206.00364, eq. 1 with s = 1, sigma = t)."""
    return (x - denoise(x, sigma)) / sigma


def between(t: Tensor, s: Tensor, r: float | Tensor) -> Tensor:
    """The noise level s^r t^(1-r): t at r = 0, s at r = 1, the geometric mean at r = 1/2."""
    return t ** (1 - r) * s**r


def inject(x: Tensor, t: Tensor, gamma: Tensor, noise: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """State and noise level (x̂, t̂) after noise: t̂ = (1 + γ) t, x̂ = x + sqrt(t̂² − t²) ε; (x, t) at γ = 0."""
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


def newest(history: History, order: int, remaining: int, lower_order_final: bool) -> History:
    """The ``order`` newest nodes; with ``lower_order_final`` at most one for every step that is left.

    ``remaining``: steps after the one that uses the nodes.
    """
    return history[: min(order, remaining + 1) if lower_order_final else order]


def remember(denoise: Denoiser, x: Tensor, sigma: Tensor, history: History, keep: int) -> History:
    """``history`` with a new evaluation at (x, sigma) in front, cut to the ``keep`` newest nodes."""
    return (Node(sigma, x, denoise(x, sigma)), *history)[:keep]
