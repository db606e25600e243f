"""EPD's predictors of flow matching models (2507.14797) as coefficients of the multistep form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.integrations.released.grids import flow_times
from adasde.integrations.released.linear import multistep
from adasde.sampling.coefficients import Coefficients

FIRST = 0.9999
"""Share of noise at which sampling starts in place of 1, whose noise level is infinite."""


def from_flow(
    raw: Mapping[str, Tensor], config: Mapping[str, Any], times: Tensor | None = None
) -> Coefficients:
    """Coefficients of EPD's step in the shares of noise u of flow matching, x = (1 − u) x₀ + u ε.

    ``raw`` has ``r_params`` and ``weight_s`` [N, K]; ``config`` has ``num_steps`` (points, N + 1), ``afs``
    and what ``flow_times`` needs; ``times`` [N + 1] replaces the grid. From u to s, with the velocity v at x
    and points m_k = s^(r_k) u^(1 − r_k): x_k = x + (m_k − u) v, x' = x + (s − u) Σ_k w_k v_k. In
    σ = u / (1 − u), z = x / (1 − u) and directions d = ε these are K + 1 steps of the multistep form, the
    points in the order of their noise levels σ_k:

        z' = z + (σ_s − σ) / (1 + σ) Σ_k w_k ((1 + σ_k) d_k − (σ_k − σ) d).

    Exact, but for the first u, 0.9999 instead of 1. The authors decode the last x, our samplers return the
    last z, which is 1 / (1 − u_N) times as large.

    Raises:
        SolverError: it scales velocities or times, starts with an analytic step, or has two points at one
            noise level.
    """
    if not isinstance(config.get("sigma_min"), int | float):
        raise SolverError("they lack sigma_min, the lowest share of noise of their model's scheduler.")
    scaled = [name for name in ("scale_dir", "scale_time", "afs") if config.get(name)]
    if scaled:
        raise SolverError(
            f"they cannot be expressed as coefficients, because {' and '.join(scaled)} would change the "
            "velocity of flow matching, which leaves x without its share of the clean image."
        )
    grid = flow_times(int(config["num_steps"]), config) if times is None else times.double()
    grid = grid.clamp(max=FIRST)
    rows, weights = torch.sigmoid(raw["r_params"].double()), torch.softmax(raw["weight_s"].double(), dim=1)
    steps, points = rows.shape
    count = steps * (points + 1)
    levels, states = torch.zeros(count + 1).double(), torch.zeros(count + 1, count).double()
    levels[0] = sigma_of(grid[0])
    for step in range(steps):
        place = step * (points + 1)
        r, order = rows[step].sort()
        middle = grid[step + 1] ** r * grid[step] ** (1 - r)
        levels[place + 1 : place + points + 2] = sigma_of(torch.cat([middle, grid[step + 1, None]]))
        factors = _states(levels[place : place + points + 2], weights[step, order], place, count)
        states[place + 1 : place + points + 2] = states[place] + factors
    moves = torch.diff(states, dim=0)
    return multistep(levels, moves, time_scale=torch.ones(count), afs=False)


def sigma_of(u: Tensor) -> Tensor:
    """σ of shares of noise u: u / (1 − u)."""
    return u / (1 - u)


def _states(levels: Tensor, weights: Tensor, place: int, count: int) -> Tensor:
    """Factors [K + 1, count] of all directions in the states at the points and the end of a step.

    ``levels`` [K + 2] are those of its start, its points and its end; ``weights`` [K] belong to the points;
    ``place`` is the number of evaluations before it.
    """
    points = len(weights)
    start, middle, end = levels[0], levels[1:-1], levels[-1]
    states = torch.zeros(points + 1, count).double()
    states[:-1, place] = middle - start
    share = (end - start) / (1 + start)
    states[-1, place] = -share * (weights * (middle - start)).sum()
    states[-1, place + 1 : place + 1 + points] = share * weights * (1 + middle)
    return states
