"""Time grids: ``steps + 1`` strictly decreasing noise levels sigma, in float64.

Every named grid maps u = 0 .. 1 (uniform) to sigma_max .. sigma_min, exactly at both ends; ``explicit``
takes the nodes themselves.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from adasde.errors import SolverError

EPSILON_TIME = 1e-3
"""The variance-preserving time at which ``time_uniform`` reaches sigma_min (Song et al., 2011.13456)."""


def polynomial(u: Tensor, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Uniform in sigma^(1/rho); EDM's grid at rho = 7 (Karras et al., 2206.00364, eq. 5)."""
    top, bottom = math.pow(sigma_max, 1 / rho), math.pow(sigma_min, 1 / rho)
    return (top + u * (bottom - top)).pow(rho)


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


TRAINING_TIMES = 1000
"""Number of training times of a model trained on discrete times."""


def discrete(u: Tensor, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Integer training times k = 999 .. 0 of a model trained on 1000 of them, uniform in k^(1/rho).

    Noise levels are those of ``training_sigmas``. Where rho crowds the nodes, one that would share a time
    with the next takes the free time above it (near k = 999, below it).

    Raises:
        SolverError: more steps than there are times.
    """
    last = TRAINING_TIMES - 1
    steps = len(u) - 1
    if steps > last:
        raise SolverError(f"discrete has {TRAINING_TIMES} times, {last} steps at most, got steps={steps}.")
    times = (last * (1 - u) ** rho).round().long()
    rank = torch.arange(steps, -1, -1)  # nodes below this one
    rising = (times - rank).flip(0).cummax(0).values.flip(0)  # distinct times, each at least as high
    distinct = torch.minimum(rising, torch.tensor(last - steps)) + rank
    return training_sigmas(sigma_min, sigma_max)[distinct]


@lru_cache(maxsize=8)
def training_sigmas(sigma_min: float, sigma_max: float) -> Tensor:
    """Noise levels of the 1000 training times, increasing: float64 [1000].

    sigma_k^2 = 1 / prod_(i <= k) (1 - beta_i) - 1, with sqrt(beta_i) linear in i (the ``scaled linear``
    process of latent diffusion, Rombach et al., 2112.10752) and both ends such that the first level is
    sigma_min and the last sigma_max.

    Raises:
        SolverError: sigma_max is too low for such a process.
    """
    first = sigma_min / math.sqrt(1 + sigma_min**2)
    ramp = torch.linspace(0, 1, TRAINING_TIMES, dtype=torch.float64)
    target = -math.log1p(sigma_max**2)

    def log_signal(end: float) -> Tensor:
        return torch.log1p(-((first + ramp * (end - first)) ** 2)).cumsum(0)

    low, high = 0.0, 1.0
    if float(log_signal(low)[-1]) < target:
        raise SolverError(
            f"{TRAINING_TIMES} training times from sigma_min={sigma_min} overshoot sigma_max={sigma_max}: "
            "take a wider range of sigma."
        )
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if float(log_signal(middle)[-1]) > target else (low, middle)
    return torch.expm1(-log_signal(low)).sqrt()


SCHEDULES: dict[str, Callable[[Tensor, float, float, float], Tensor]] = {
    "polynomial": polynomial,
    "logsnr": logsnr,
    "time_uniform": time_uniform,
    "discrete": discrete,
}
EXPLICIT = "explicit"
"""The schedule whose nodes are given one by one."""


def schedule(
    name: str,
    steps: int,
    *,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    nodes: Sequence[float] | Tensor | None = None,
) -> Tensor:
    """Grid of ``steps`` intervals: float64 [steps + 1], from sigma_max down to sigma_min.

    ``rho`` bends the grid: 7 is EDM's choice for ``polynomial``; the AdaSDE paper uses ``time_uniform``
    with rho = 1; ``logsnr`` and ``discrete`` are usually taken with rho = 1. ``explicit`` uses
    its ``steps + 1`` noise levels ``nodes`` alone.

    Raises:
        SolverError: unknown name, steps < 1, rho <= 0, not 0 < sigma_min < sigma_max < inf, a range so
            narrow that the grid is not monotone on it, or explicit nodes that are not a decreasing row.
    """
    if name == EXPLICIT:
        return explicit(steps, nodes)
    function = SCHEDULES.get(name)
    if function is None:
        raise SolverError(unknown("schedule", name, [*SCHEDULES, EXPLICIT]))
    if nodes is not None:
        raise SolverError(f"nodes belong to the schedule {EXPLICIT!r}, not to {name!r}.")
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


def explicit(steps: int, nodes: Sequence[float] | Tensor | None) -> Tensor:
    """Grid of the noise levels ``nodes``: float64 [steps + 1].

    Raises:
        SolverError: missing, another number of them, or not positive and strictly decreasing.
    """
    if nodes is None:
        raise SolverError(f"the schedule {EXPLICIT!r} needs nodes: its steps + 1 noise levels.")
    sigmas = checked(nodes)
    if len(sigmas) != steps + 1:
        raise SolverError(f"{steps} steps need {steps + 1} explicit nodes, got {len(sigmas)}.")
    return sigmas


def checked(sigmas: Sequence[float] | Tensor) -> Tensor:
    """``sigmas`` as float64 on the CPU, or a SolverError that names the place where the grid is invalid."""
    try:
        grid = torch.as_tensor(sigmas, dtype=torch.float64).cpu()
    except (TypeError, ValueError) as error:
        raise SolverError(f"sigmas must be a row of numbers, got {sigmas!r}.") from error
    if grid.ndim != 1 or len(grid) < 2:
        raise SolverError(f"sigmas must be a row of at least two noise levels, got shape {list(grid.shape)}.")
    values = grid.tolist()
    for i, (value, after) in enumerate(pairwise([*values, 0.0])):
        if not value > after:
            last = i == len(values) - 1
            where = f"the last, {value!r}" if last else f"sigmas[{i}] = {value!r} and {after!r} after it"
            raise SolverError(f"sigmas must be positive and strictly decreasing; look at {where}.")
    return grid


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that is not in a registry: the names that exist, and the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}; known: {', '.join(names)}.{hint}"
