"""Time grids: ``steps + 1`` strictly decreasing noise levels sigma, in float64.

Every grid maps u = 0 .. 1 (uniform) to sigma_max .. sigma_min, exactly at both ends.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from adasde.errors import SolverError

EPSILON_TIME = 1e-3
"""The variance-preserving time at which ``time_uniform`` reaches sigma_min (Song et al., 2011.13456)."""


def polynomial(u: Tensor, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Uniform in sigma^(1/rho); EDM's grid at rho = 7 (Karras et al., 2206.00364, eq. 5)."""
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (top + u * (bottom - top)) ** rho


def logsnr(u: Tensor, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Uniform in log sigma, that is in log-SNR (Lu et al., DPM-Solver, 2206.00927); rho bends u."""
    top, bottom = math.log(sigma_max), math.log(sigma_min)
    return torch.exp(top + u**rho * (bottom - top))


def time_uniform(u: Tensor, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Uniform in t^(1/rho) of the variance-preserving process t = 1 .. 0.001 (Song et al., 2011.13456).

    sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1, with both betas chosen so that the ends of the
    grid are sigma_max and sigma_min.
    """
    log_max, log_min = math.log1p(sigma_max**2), math.log1p(sigma_min**2)
    beta_d = 2 * (log_min / EPSILON_TIME - log_max) / (EPSILON_TIME - 1)
    beta_min = log_max - beta_d / 2
    t = (1 + u * (EPSILON_TIME ** (1 / rho) - 1)) ** rho
    return torch.expm1(beta_d * t**2 / 2 + beta_min * t).sqrt()


SCHEDULES: dict[str, Callable[[Tensor, float, float, float], Tensor]] = {
    "polynomial": polynomial,
    "logsnr": logsnr,
    "time_uniform": time_uniform,
}


def schedule(
    name: str, steps: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Tensor:
    """The named grid of ``steps`` intervals: float64 [steps + 1], from sigma_max down to sigma_min.

    ``rho`` bends the grid: 7 is EDM's choice for ``polynomial``; the AdaSDE paper uses ``time_uniform``
    with rho = 1; ``logsnr`` is usually taken with rho = 1.

    Raises:
        SolverError: unknown name, steps < 1, rho <= 0, not 0 < sigma_min < sigma_max < inf, or a range
            so narrow that ``time_uniform`` is not monotone on it.
    """
    function = SCHEDULES.get(name)
    if function is None:
        raise SolverError(unknown("schedule", name, SCHEDULES))
    if steps < 1:
        raise SolverError(f"a schedule needs at least 1 step, got steps={steps}.")
    if not (math.isfinite(rho) and rho > 0):
        raise SolverError(f"rho must be a positive number, got {rho}.")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise SolverError(
            f"need 0 < sigma_min < sigma_max, got sigma_min={sigma_min}, sigma_max={sigma_max}."
        )
    sigmas = function(torch.linspace(0, 1, steps + 1, dtype=torch.float64), sigma_min, sigma_max, rho)
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    if not bool((sigmas[:-1] > sigmas[1:]).all()):
        raise SolverError(
            f"{name} with rho={rho} does not decrease from sigma_max={sigma_max} to sigma_min={sigma_min}: "
            "take a wider range of sigma, or another schedule."
        )
    return sigmas


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is not in a registry: says what exists and what was likely meant."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}; known: {', '.join(names)}.{hint}"
