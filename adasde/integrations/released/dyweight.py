"""DyWeight's predictors (2603.11607) as coefficients of the multistep form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adasde.integrations.released.grids import released_grid
from adasde.integrations.released.linear import multistep
from adasde.sampling.coefficients import Coefficients


def from_weights(
    weights: Tensor, time_scale: Tensor | None, config: Mapping[str, Any], sigmas: Tensor | None = None
) -> Coefficients:
    """Coefficients from DyWeight's weights [N, N] of directions, oldest first, and its scales of times.

    A step adds Σ_j w_ij d_j times its interval of the grid τ, and the noise level moves with the weights:
    t_(i+1) = t_i + Σ_j w_ij (τ_(i+1) − t_i). The last step ends at τ_N whatever its weights' sum, so that
    there λ = Σ_j w_j; elsewhere λ = 1. ``time_scale`` [N] is μ, None: 1; under AFS [N − 1], without that
    of the first step. ``config`` has ``num_steps`` (N + 1), ``schedule_type``, ``schedule_rho``, ``afs``,
    ``sigma_min`` and ``sigma_max``; ``sigmas`` replaces the grid τ.

    Raises:
        SolverError: unknown schedule, or noise levels that do not decrease.
    """
    grid = released_grid(config) if sigmas is None else sigmas.double()
    weights = weights.detach().double().tril()
    steps, afs = len(weights), bool(config["afs"])
    levels, moves = [grid[0]], torch.zeros_like(weights)
    for step in range(steps):
        moves[step] = weights[step] * (grid[step + 1] - levels[-1])
        levels.append(levels[-1] + moves[step].sum())
    levels[-1] = grid[-1]
    scales = torch.ones(steps, dtype=torch.float64)
    if time_scale is not None:
        scales[int(afs) :] = time_scale.detach().double().abs()
    return multistep(torch.stack(levels), moves, time_scale=scales, afs=afs)
