"""Solvers: each is data plus one step; what it remembers is passed in and out explicitly.

All integrate the probability-flow ODE dx/dsigma = (x - D(x, sigma)) / sigma from t to s < t, in EDM's
coordinates, where exponential integrators in log-SNR simplify: alpha = 1, lambda = -log sigma. A solver's
``step`` returns the state at s and the history to hand to the next step. Noise levels are float64 scalars
on the CPU; states keep their dtype, because a 0-dimensional tensor does not promote them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from adasde.coefficients import Coefficients
from adasde.errors import SolverError
from adasde.schedules import unknown
from adasde.types import Denoiser

History = tuple[tuple[Tensor, Tensor], ...]
"""(sigma, model output) of earlier nodes, newest first; what "output" means is the solver's own."""


@dataclass(frozen=True)
class Interval:
    """What one step may know: from ``start`` to ``end``, ``remaining`` steps after this one."""

    index: int
    start: Tensor
    end: Tensor
    remaining: int
    noise: Callable[[Tensor], Tensor]


class Solver(Protocol):
    """One step of a sampler. ``evaluations`` is the number of denoiser calls that a step makes."""

    @property
    def evaluations(self) -> int: ...

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]: ...


def direction(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """dx/dsigma of the probability-flow ODE (Karras et al., 2206.00364, eq. 1 with s = 1, sigma = t)."""
    return (x - denoise(x, sigma)) / sigma


def between(t: Tensor, s: Tensor, r: float | Tensor) -> Tensor:
    """The noise level s^r t^(1-r): t at r = 0, s at r = 1, the geometric mean at r = 1/2."""
    return t ** (1 - r) * s**r


@dataclass(frozen=True)
class Euler:
    """Euler's method, which is DDIM in these coordinates (Song et al., 2010.02502). Order 1."""

    evaluations: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        return x + (s - t) * direction(denoise, x, t), history


@dataclass(frozen=True)
class Heun:
    """Heun's method, EDM's deterministic sampler (2206.00364, algorithm 1). Order 2."""

    evaluations: ClassVar[int] = 2
    order: ClassVar[int] = 2

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        d = direction(denoise, x, t)
        d_next = direction(denoise, x + (s - t) * d, s)
        return x + (s - t) * (d + d_next) / 2, history


@dataclass(frozen=True)
class DPM2:
    """DPM-Solver-2 with its point at s^r t^(1-r) (Lu et al., 2206.00927, algorithm 4). Order 2."""

    r: float = 0.5

    evaluations: ClassVar[int] = 2
    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 < self.r < 1:
            raise SolverError(f"dpm2 needs 0 < r < 1, got r={self.r}.")

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        middle = between(t, s, self.r)
        d = direction(denoise, x, t)
        d_middle = direction(denoise, x + (middle - t) * d, middle)
        share = 1 / (2 * self.r)
        return x + (s - t) * ((1 - share) * d + share * d_middle), history


@dataclass(frozen=True)
class DPMpp:
    """DPM-Solver++ multistep, data prediction (Lu et al., 2211.01095, algorithm 2 and its 3M form).

    The first steps, and with ``lower_order_final`` the last, use the order that their neighbours allow.
    """

    order: int = 2
    lower_order_final: bool = True

    evaluations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_order("dpmpp", self.order, 3)

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        history = ((t, denoise(x, t)), *history)[: self.order]
        final_order = interval.remaining + 1 if self.lower_order_final else self.order
        usable = history[: min(self.order, final_order)]
        h = (t / s).log()
        decay = torch.expm1(-h)  # exp(-h) - 1
        x = s / t * x - decay * usable[0][1]
        if len(usable) > 1:
            first, second = divided_differences(usable, h)
            x = x + (decay / h + 1) * first if len(usable) > 2 else x - decay / 2 * first
            if second is not None:
                x = x - ((decay + h) / h**2 - 0.5) * second
        return x, history


def divided_differences(nodes: History, h: Tensor) -> tuple[Tensor, Tensor | None]:
    """First and (from three nodes) second derivative of the output in lambda / h, at the newest node."""
    (t0, d0), (t1, d1) = nodes[:2]
    r0 = (t1 / t0).log() / h
    slope0 = (d0 - d1) / r0
    if len(nodes) < 3:
        return slope0, None
    t2, d2 = nodes[2]
    r1 = (t2 / t1).log() / h
    slope1 = (d1 - d2) / r1
    curvature = (slope0 - slope1) / (r0 + r1)
    return slope0 + r0 * curvature, curvature


ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@dataclass(frozen=True)
class IPNDM:
    """Improved pseudo-numerical method: Adams-Bashforth with the weights of equal steps.

    Liu et al., 2202.09778, with lower orders instead of Runge-Kutta for the first steps (Zhang and Chen,
    2204.13902). The weights ignore the grid's spacing,
    so that the order on a smooth grid is 2, whatever the weights.
    """

    order: int = 3

    evaluations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_order("ipndm", self.order, 4)

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        t, s = interval.start, interval.end
        history = ((t, direction(denoise, x, t)), *history)[: self.order]
        weights = ADAMS_BASHFORTH[len(history)]
        combined = sum(weight * d for weight, (_, d) in zip(weights, history, strict=True))
        return x + (s - t) * combined, history


@dataclass(frozen=True)
class AdaSDE:
    """AdaSDE's step with learned coefficients (2510.23285): inject noise, then K scaled points."""

    coefficients: Coefficients

    @property
    def evaluations(self) -> int:
        return self.coefficients.points + 1

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        table, i, t, s = self.coefficients, interval.index, interval.start, interval.end
        x, t = inject(x, t, table.gamma[i], interval.noise)
        d = direction(denoise, x, t)
        combined = torch.zeros_like(x)
        for k in range(table.points):
            m = between(t, s, table.midpoint[i, k])
            at_m = x + (m - t) * d
            d_k = (at_m - denoise(at_m, table.time_scale[i, k] * m)) / m
            combined = combined + table.weights[i, k] * table.direction_scale[i, k] * d_k
        return x + (s - t) * combined, history


def inject(x: Tensor, t: Tensor, gamma: Tensor, noise: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Raise the noise level from t to (1 + gamma) t; at gamma = 0 nothing is drawn and nothing changes."""
    if not float(gamma.detach()) > 0:
        return x, t
    return x + t * (gamma * (2 + gamma)).sqrt() * noise(x), (1 + gamma) * t


def check_order(name: str, order: int, highest: int) -> None:
    """Refuse an order that a multistep solver does not have (SolverError)."""
    if order not in range(1, highest + 1):
        raise SolverError(f"{name} has orders 1 to {highest}, got order={order!r}.")


@dataclass(frozen=True)
class Entry:
    """One line of the registry: how to make the solver, with the options that its name implies."""

    make: type
    preset: dict[str, Any]


SOLVERS: dict[str, Entry] = {
    "euler": Entry(Euler, {}),
    "heun": Entry(Heun, {}),
    "dpm2": Entry(DPM2, {}),
    "dpmpp-2m": Entry(DPMpp, {"order": 2}),
    "dpmpp-3m": Entry(DPMpp, {"order": 3}),
    "ipndm": Entry(IPNDM, {}),
}


def make_solver(name: str, options: dict[str, Any] | None = None) -> Solver:
    """The classical solver of that name with its options.

    Raises:
        SolverError: unknown name or option (says which exist), or a value out of range.
    """
    entry = SOLVERS.get(name)
    if entry is None:
        raise SolverError(unknown("solver", name, SOLVERS))
    allowed = {item.name for item in fields(entry.make)} - set(entry.preset)
    for option in options or {}:
        if option not in allowed:
            raise SolverError(f"solver {name!r}: " + unknown("option", option, allowed))
    return entry.make(**entry.preset, **(options or {}))


def steps_for_nfe(solver: str, nfe: int, *, afs: bool, points: int = 1) -> int:
    """Intervals that spend exactly ``nfe`` evaluations; ``solver`` is a registry name or ``adasde``.

    Raises:
        SolverError: no number of steps gives this NFE; names the nearest that are possible.
    """
    evaluations = points + 1 if solver == "adasde" else make_solver(solver).evaluations
    steps, rest = divmod(nfe + int(afs), evaluations)
    if rest or steps < 1:
        near = [n * evaluations - int(afs) for n in (max(steps, 1), max(steps, 1) + 1)]
        raise SolverError(
            f"{solver} spends {evaluations} evaluations a step{', the first one less under AFS' * afs}: "
            f"nfe={nfe} is impossible; the nearest are {near[0]} and {near[1]}."
        )
    return steps
