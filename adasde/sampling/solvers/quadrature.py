"""Weights of multistep formulas: Lagrange polynomials, their integrals over a step, divided differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

POINTS, WEIGHTS = (torch.from_numpy(row) for row in np.polynomial.legendre.leggauss(32))
"""Gauss-Legendre on [-1, 1]: exact to rounding for steps of up to ten units of log sigma."""

BETA_D, BETA_MIN = 19.9, 0.1
"""The linear variance-preserving process of Song et al. (2011.13456) in EDM's notation (2206.00364)."""


def preserving_time(sigma: Tensor) -> Tensor:
    """The t of the variance-preserving process: sigma^2 = exp(beta_d t^2 / 2 + beta_min t) - 1."""
    return ((BETA_MIN**2 + 2 * BETA_D * torch.log1p(sigma**2)).sqrt() - BETA_MIN) / BETA_D


VARIABLES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigma": lambda sigma: sigma,
    "time": preserving_time,
    "log": torch.log,
}
"""Variables of the polynomials of multistep formulas, as functions of the noise level."""


def lagrange(nodes: Sequence[Tensor], at: Tensor) -> list[Tensor]:
    """Lagrange polynomials of the ``nodes`` (scalars), 1 at one and 0 at the others, each ``at`` [Q]."""
    values = []
    for j, node in enumerate(nodes):
        value = torch.ones_like(at)
        for k, other in enumerate(nodes):
            if k != j:
                value = value * (at - other) / (node - other)
        values.append(value)
    return values


def adams_weights(
    nodes: Sequence[Tensor],
    t: Tensor,
    s: Tensor,
    *,
    variable: Callable[[Tensor], Tensor],
    density: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """Integrals from log t to log s of L_j(variable(sigma)) density(sigma) d log sigma, for every j.

    ``nodes``, t and s are noise levels. Gauss-Legendre quadrature in float64, differentiable in all of them.
    """
    half = (s / t).log() / 2
    sigma = t * (half * (1 + POINTS)).exp()
    measure = half * WEIGHTS * density(sigma)
    basis = lagrange([variable(node) for node in nodes], variable(sigma))
    return [(measure * value).sum() for value in basis]


def divided_differences(sigmas: Sequence[Tensor], values: Sequence[Tensor], h: Tensor) -> list[Tensor]:
    """D_1 and (from three nodes) D_2 of ``values`` in lambda / h, at the newest node (listed first).

    lambda = -log sigma; Lu et al., 2211.01095. D_1 is the first derivative, D_2 half of the second.
    """
    r0 = (sigmas[1] / sigmas[0]).log() / h
    slope0 = (values[0] - values[1]) / r0
    if len(values) < 3:
        return [slope0]
    r1 = (sigmas[2] / sigmas[1]).log() / h
    slope1 = (values[1] - values[2]) / r1
    curvature = (slope0 - slope1) / (r0 + r1)
    return [slope0 + r0 * curvature, curvature]
