"""Terms that the formulas of solvers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adasde.types import Denoiser


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
