"""The teacher: a classical solver on a finer grid, read at the student's nodes."""

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


def split(coarse: Tensor, pieces: int) -> Tensor:
    """Every interval of ``coarse`` [n+1] split by a polynomial grid (rho 7): float64 [n * pieces + 1]."""
    grids = [
        make_schedule("polynomial", pieces, sigma_min=float(s), sigma_max=float(t), rho=SUBGRID_RHO)
        for t, s in pairwise(coarse)
    ]
    return torch.cat([grid[:-1] for grid in grids] + [coarse[-1:].double()])


@dataclass(frozen=True)
class Teacher:
    """``inserted`` nodes of the student's own schedule go into every interval of the student's grid;
    each of these finer intervals is then split in ``substeps`` by a polynomial grid with rho = 7, as
    the released implementation does.
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

        Without ``inner`` [2, B, *shape], those at both ends, and no other is kept in memory. ``latents`` ~
        N(0, I) [B, *shape]; the other arguments are those of ``adasde.schedule``.
        """
        pieces = self.inserted + 1
        student, coarse = (
            make_schedule(schedule, count, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
            for count in (steps, steps * pieces)
        )
        if not torch.allclose(coarse[::pieces], student, rtol=1e-9):  # a grid that snaps to given nodes
            coarse = split(student, pieces)
        fine = split(coarse, self.substeps)
        every = pieces * self.substeps
        walk = integrate(denoise, latents * fine[0], fine, make_solver(self.solver))
        kept = range(0, len(fine), every if inner else len(fine) - 1)
        return torch.stack([state for i, state in enumerate(walk) if i in kept])
