"""What the tests of solvers share: the end of a walk, and orders measured from errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from adasde.sampling.analytic import Gaussian
from adasde.sampling.integrate import integrate
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import Solver
from adasde.types import Denoiser, Noise


def last(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    solver: Solver,
    afs: bool = False,
    noise: Noise | None = None,
) -> Tensor:
    """The state at the last node."""
    return list(integrate(denoise, x, sigmas, solver, afs=afs, noise=noise))[-1]


def rate(errors: Sequence[float], steps: Sequence[int]) -> float:
    """The slope p of error ~ steps^-p between the first and the last."""
    return math.log(errors[0] / errors[-1]) / math.log(steps[-1] / steps[0])


def starts() -> Tensor:
    """Sixteen states [16, 6] at sigma = 10."""
    return 10 * torch.randn(16, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def observed_order(
    denoise: Denoiser,
    solver: Solver,
    exact: Tensor,
    steps: tuple[int, int],
    name: str = "logsnr",
    rho: float = 1.0,
) -> float:
    """The global order between two numbers of steps, from ``starts`` to ``exact`` at sigma = 0.1."""
    grids = [schedule(name, n, sigma_min=0.1, sigma_max=10.0, rho=rho) for n in steps]
    errors = [float((last(denoise, starts(), grid, solver) - exact).abs().mean()) for grid in grids]
    return rate(errors, steps)


def spread(solver: Solver, steps: int, std: float) -> float:
    """Variance at sigma = 0.1 for Gaussian data, from the exact one at 10: the walk is linear, no sampling.

    Row 0 starts with the exact standard deviation and draws no noise; row k + 1 starts at 0 and draws unit
    noise in step k alone. The variance is the sum of the squares.
    """
    grid = schedule("logsnr", steps, sigma_min=0.1, sigma_max=10.0, rho=1)
    rows = torch.zeros(steps + 1, 1, dtype=torch.float64)
    rows[0] = math.hypot(std, float(grid[0]))

    def one_each(step: int, like: Tensor) -> Tensor:
        unit = torch.zeros_like(like)
        unit[step + 1] = 1
        return unit

    return float(last(Gaussian(0.0, std), rows, grid, solver, noise=one_each).square().sum())
