"""Linear samplers of directions as coefficients of the multistep form."""

from __future__ import annotations

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.coefficients import MULTISTEP, Coefficients


def multistep(levels: Tensor, moves: Tensor, *, time_scale: Tensor, afs: bool) -> Coefficients:
    """Coefficients of x_(i+1) = x_i + Σ_j moves[i, j] d_j with d_j = (x_j − D(x_j, μ_j σ_j)) / σ_j.

    ``levels`` [n+1]: the noise level of every evaluated state, and of the end; ``moves`` [n, n], 0 for j > i;
    ``time_scale`` [n]: μ. In the multistep form λ_i = Σ_j moves[i, j] / (σ_(i+1) − σ_i), and the weights are
    the row divided by its sum, newest first.

    Raises:
        SolverError: the numbers cannot be expressed: noise levels do not decrease, or a step goes up.
    """
    levels, moves = levels.double(), moves.double()
    steps, total, span = len(moves), moves.sum(1), torch.diff(levels)
    for step in range(steps):
        if not (bool(span[step] < 0) and bool(levels[step + 1] > 0) and bool(total[step] < 0)):
            raise SolverError(
                f"they cannot be expressed as coefficients, because step {step} goes from noise level "
                f"{float(levels[step]):.6g} to {float(levels[step + 1]):.6g} by a sum of directions of "
                f"{float(total[step]):.6g}: noise levels must decrease, and so must the noise."
            )
    newest_first = torch.zeros_like(moves)
    for step in range(steps):
        newest_first[step, : step + 1] = moves[step, : step + 1].flip(0) / total[step]
    remembered = int(newest_first.abs().sum(0).nonzero().max()) + 1
    return Coefficients(
        sigmas=levels,
        gamma=torch.zeros(steps),
        midpoint=torch.zeros(steps, 0),
        direction_scale=(total / span)[:, None],
        time_scale=time_scale.double()[:, None],
        weights=newest_first[:, :remembered],
        afs=afs,
        solver=MULTISTEP,
    )
