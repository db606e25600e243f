"""Learned times of LD3 (2405.15506) as coefficients: a classical solver on a learned grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.integrations.released.grids import levels_at
from adasde.sampling.coefficients import Coefficients

DIRECTIONS, ESTIMATES = ("ipndm", "euler"), ("dpmpp-2m", "dpmpp-3m", "unipc", "unipc-3")
"""Solvers that combine directions, and those that combine clean estimates: LD3's iPNDM and Euler; its
DPM-Solver++ and UniPC."""


def from_times(
    times: Tensor,
    evaluated: Tensor,
    solver: str,
    *,
    options: Mapping[str, Any] | None = None,
    ends: tuple[float, float] | None = None,
) -> Coefficients:
    """Coefficients of ``solver`` on learned ``times`` [N + 1], with the network told ``evaluated`` [N + 1].

    Of a pixel model these are noise levels; of a latent model (all at most 1) times t = k/1000 of its
    training, which need its range ``ends`` = (sigma_min, sigma_max). μ is the quotient of the noise levels.
    A solver that combines directions takes them per evaluated level, so that λ = 1 / μ; one that combines
    clean estimates has λ = 1.

    Raises:
        SolverError: another solver; a latent model whose two times differ, or without its range.
    """
    if solver not in (*DIRECTIONS, *ESTIMATES):
        known = ", ".join((*DIRECTIONS, *ESTIMATES))
        raise SolverError(f"learned times of {solver!r} cannot be imported; give --solver, one of {known}.")
    times, evaluated = times.double(), evaluated.double()
    if bool((times <= 1).all()):
        times = evaluated = _of_latents(times, evaluated, ends)
    scale = (evaluated / times)[:-1, None]
    steps = len(scale)
    return Coefficients(
        sigmas=times,
        gamma=torch.zeros(steps),
        midpoint=torch.zeros(steps, 0),
        direction_scale=1 / scale if solver in DIRECTIONS else torch.ones_like(scale),
        time_scale=scale,
        weights=torch.zeros(steps, 0),
        afs=False,
        solver=solver,
        options=dict(options or {}),
    )


def _of_latents(times: Tensor, evaluated: Tensor, ends: tuple[float, float] | None) -> Tensor:
    if not torch.allclose(times, evaluated, rtol=1e-5, atol=1e-6):
        raise SolverError(
            "they cannot be expressed as coefficients, because the network of a latent model gets another "
            "time than that of its input's scale, which no noise level has."
        )
    if ends is None:
        raise SolverError("the times of a latent model need its range of noise levels.")
    return levels_at(times, sigma_min=ends[0], sigma_max=ends[1])
