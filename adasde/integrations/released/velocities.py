"""NeuralSolver's searched multistep solvers (2505.21114) as coefficients of the multistep form."""

from __future__ import annotations

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.integrations.released.linear import multistep
from adasde.sampling.coefficients import Coefficients

ENDS = 1e-4
"""Share of noise left at the end, and of data at the beginning: noise levels are finite and above 0."""


def from_velocities(intervals: Tensor, factors: Tensor) -> Coefficients:
    """Coefficients of a multistep solver of flow matching, x = (1 − u) x₀ + u ε from u = 1 to 0.

    Step i takes u down by ``intervals[i]`` [N] (of sum 1) with Σ_(j<i) c_ij v_j + (1 − Σ_j c_ij) v_i, the
    velocities v and ``factors`` c [N, N]. In σ = u / (1 − u), z = x / (1 − u) and directions d the velocities
    are (1 + σ_j) d_j − z_j up to the sign. Exact, but for the ends, ``ENDS`` away from 1 and 0.

    Raises:
        SolverError: intervals that do not add up to 1, or noise levels that do not decrease.
    """
    intervals, factors = torch.as_tensor(intervals).double(), torch.as_tensor(factors).double().tril(-1)
    if abs(float(intervals.sum()) - 1) > 1e-2:
        raise SolverError(f"intervals must add up to 1, got {float(intervals.sum()):.6g}.")
    u = torch.cat([torch.zeros(1).double(), (intervals / intervals.sum()).cumsum(0)])
    u = (1 - u).clamp(ENDS, 1 - ENDS)
    weights = factors + torch.diag(1 - factors.sum(1))
    levels, count = u / (1 - u), len(intervals)
    states = torch.zeros(count + 1, count).double()  # factors of the directions; that of the start is 1
    for i in range(count):
        velocity = torch.diag(1 + levels[:-1]) - states[:-1]
        states[i + 1] = ((1 - u[i]) * states[i] - (u[i] - u[i + 1]) * weights[i] @ velocity) / (1 - u[i + 1])
    return multistep(levels, torch.diff(states, dim=0), time_scale=torch.ones(count), afs=False)
