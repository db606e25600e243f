"""Time grids as the authors' code computes them, where they differ from ``sampling.schedules``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adasde.sampling.schedules import TRAINING_TIMES, schedule, training_sigmas


def released_grid(config: Mapping[str, Any]) -> Tensor:
    """Noise levels [num_steps] of a predictor's ``schedule_type`` and ``schedule_rho``, in float64.

    ``config`` has ``num_steps`` (points), ``sigma_min`` and ``sigma_max``. Their ``logsnr`` ignores rho, and
    their ``discrete`` does not round to training times (see ``fractional_times``).

    Raises:
        SolverError: unknown schedule, or an invalid range.
    """
    name, steps = config["schedule_type"], int(config["num_steps"]) - 1
    low, high = float(config["sigma_min"]), float(config["sigma_max"])
    rho = 1.0 if name == "logsnr" else float(config["schedule_rho"])
    grid = schedule(name, steps, sigma_min=low, sigma_max=high, rho=rho)
    return fractional_times(steps, sigma_min=low, sigma_max=high, rho=rho) if name == "discrete" else grid


def fractional_times(steps: int, *, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
    """Noise levels [steps + 1] uniform in t^(1/rho), t = 1 .. 1/1000, of a model trained at t = k/1000."""
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    t = (1 + u * ((1 / TRAINING_TIMES) ** (1 / rho) - 1)) ** rho
    sigmas = levels_at(t, sigma_min=sigma_min, sigma_max=sigma_max)
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    return sigmas


def levels_at(t: Tensor, *, sigma_min: float, sigma_max: float) -> Tensor:
    """Noise levels of any times t in [1/1000, 1] of a model trained at t = k/1000.

    Between training times the logarithm of the signal's factor, log α = -log(1 + σ²)/2, is linear in t (as in
    the code of DPM-Solver, Lu et al., 2206.00927).
    """
    place = (t * TRAINING_TIMES - 1).clamp(0, TRAINING_TIMES - 1)
    below = place.floor().clamp(max=TRAINING_TIMES - 2)
    log_power = torch.log1p(training_sigmas(sigma_min, sigma_max) ** 2)
    power = torch.lerp(log_power[below.long()], log_power[below.long() + 1], place - below)
    return torch.expm1(power).sqrt()


def flow_times(points: int, config: Mapping[str, Any]) -> Tensor:
    """Shares of noise [points] of the schedule ``flowmatch``, from 1 down; float64.

    ``config`` has the scheduler's ``sigma_min``, ``sigma_max`` (shares of noise too) and ``flowmatch_mu``:
    with mu the uniform grid u becomes e^mu u / (1 + (e^mu - 1) u) (Esser et al., 2403.03206, eq. 23); without
    it the factor is the constant shift by which ``sigma_min`` exceeds that of 1000 unshifted times, and the
    ends of the uniform grid are shifted already (so they are shifted twice, as ``diffusers`` does).
    """
    lowest, highest = float(config["sigma_min"]), float(config.get("sigma_max") or 1.0)
    mu = config.get("flowmatch_mu")
    first = 1 / TRAINING_TIMES
    factor = lowest * (1 - first) / (first * (1 - lowest)) if mu is None else math.exp(float(mu))
    u = torch.linspace(highest, lowest, points, dtype=torch.float64)
    return factor * u / (1 + (factor - 1) * u)
