"""Coefficient tables with random, sensible numbers, for every form that a file can have."""

from __future__ import annotations

import torch

from adasde.sampling.coefficients import MULTISTEP, OWN, Coefficients
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import SOLVERS, evaluations_of, make_solver

FORMS = [OWN, MULTISTEP, *(name for name in SOLVERS if not make_solver(name).stochastic)]
"""Every solver that coefficients can be of."""


def random_table(
    solver: str = OWN,
    *,
    steps: int = 3,
    points: int = 1,
    afs: bool = True,
    gamma: float = 0.1,
    sigma_min: float = 0.01,
    sigma_max: float = 80.0,
    model: dict | None = None,
) -> Coefficients:
    """A valid table; noise at every step but the first, and at the second only where AFS lets it."""
    generator = torch.Generator().manual_seed(7)

    def around(center: float, width: int) -> torch.Tensor:
        return center * (0.9 + 0.2 * torch.rand(steps, width, dtype=torch.float64, generator=generator))

    own = solver == OWN
    width = points if own else evaluations_of(solver)
    noise = torch.full((steps,), gamma, dtype=torch.float64)
    noise[: 2 if afs and not own and width == 1 else 1] = 0
    weights = around(1, width if own else 3 if solver == MULTISTEP else 0)
    if solver == MULTISTEP:
        weights = weights.tril()
    return Coefficients(
        schedule("polynomial", steps, sigma_min=sigma_min, sigma_max=sigma_max),
        noise,
        around(0.5, width if own else 0),
        around(1, width),
        around(1, width),
        weights / weights.sum(1, keepdim=True),
        afs,
        solver=solver,
        model=model or {},
    )
