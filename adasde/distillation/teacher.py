"""The teacher: a classical solver on a finer grid, whose states at the student's nodes are the targets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.integrate import integrate
from adasde.sampling.schedules import schedule as make_schedule
from adasde.sampling.solvers import make_solver
from adasde.types import Denoiser

SUBGRID_RHO = 7.0
"""Polynomial exponent of the substeps, as in the reference implementation (2510.23285)."""


def split(coarse: Tensor, parts: int) -> Tensor:
    """Grid with every interval of ``coarse`` [n+1] split by a polynomial grid: float64 [n * parts + 1]."""
    grids = [
        make_schedule("polynomial", parts, sigma_min=float(s), sigma_max=float(t), rho=SUBGRID_RHO)
        for t, s in pairwise(coarse)
    ]
    return torch.cat([grid[:-1] for grid in grids] + [coarse[-1:].double()])


@dataclass(frozen=True)
class Teacher:
    """A classical solver on the student's grid, refined as in the reference implementation (2510.23285).

    ``inserted`` nodes of the student's schedule go into every interval of its grid, and each of the new
    intervals is split into ``substeps`` by a polynomial grid with rho = 7.

    Raises:
        SolverError: no such solver, or numbers out of range.
    """

    solver: str = "dpm2"
    inserted: int = 3
    substeps: int = 2

    def __post_init__(self) -> None:
        if self.inserted < 0 or self.substeps < 1:
            raise SolverError(
                f"a teacher needs inserted >= 0 and substeps >= 1, got {self.inserted} and {self.substeps}."
            )
        make_solver(self.solver)

    @torch.no_grad()
    def states(
        self,
        denoise: Denoiser,
        latents: Tensor,
        *,
        schedule: str,
        steps: int,
        sigma_min: float,
        sigma_max: float,
        rho: float,
        inner: bool = True,
    ) -> Tensor:
        """States [steps + 1, B, *shape] at the nodes of the student's grid, the first at sigma_max.

        Without ``inner`` [2, B, *shape]: only both ends are kept in memory. ``latents`` ~ N(0, I)
        [B, *shape]; the other arguments are those of ``adasde.schedule``.
        """
        parts = self.inserted + 1
        student, coarse = (
            make_schedule(schedule, count, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
            for count in (steps, steps * parts)
        )
        if not torch.allclose(coarse[::parts], student, rtol=1e-9):  # a schedule that snaps to fixed nodes
            coarse = split(student, parts)
        return self.along(denoise, latents, coarse, every=parts if inner else len(coarse) - 1)

    @torch.no_grad()
    def along(self, denoise: Denoiser, latents: Tensor, coarse: Tensor, *, every: int) -> Tensor:
        """States [n / every + 1, B, *shape] at each ``every``-th node of ``coarse`` [n+1]."""
        fine = split(coarse, self.substeps)
        trajectory = integrate(denoise, latents * fine[0], fine, make_solver(self.solver))
        kept = range(0, len(fine), every * self.substeps)
        return torch.stack([state for i, state in enumerate(trajectory) if i in kept])
