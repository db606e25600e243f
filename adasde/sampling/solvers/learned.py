"""Solvers with learned coefficients: AdaSDE's own step, its multistep form, and its plug-in form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.solvers.base import History, Interval, Node, Solver, between, direction, inject, plus
from adasde.types import Denoiser


@dataclass(frozen=True)
class AdaSDE:
    """AdaSDE's step with learned coefficients (2510.23285): inject noise, then K scaled points."""

    coefficients: Coefficients

    convergence: ClassVar[int] = 2
    stochastic: ClassVar[bool] = True

    @property
    def evaluations(self) -> int:
        """K + 1."""
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


@dataclass(frozen=True)
class Multistep:
    """AdaSDE whose direction is a learned sum over earlier evaluations; one evaluation a step.

    ``x' = x^ + (s - t^) lambda sum_j w_j d_j`` with d_0 = (x^ - D(x^, mu t^)) / t^ at the raised level and
    d_1, d_2 ... the directions of the steps before, which new noise turns too (see ``carried``). Fixed
    weights give iPNDM (Zhang and Chen, 2204.13902); here every step has its own. Gradients are first
    derivatives by ``backward`` or ``torch.autograd.grad`` (see ``plus``).
    """

    coefficients: Coefficients

    evaluations: ClassVar[int] = 1
    convergence: ClassVar[int] = 2
    stochastic: ClassVar[bool] = True

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        table, i = self.coefficients, interval.index
        raised, t = inject(x, interval.start, table.gamma[i], interval.noise)
        if raised is not x:
            history = carried(history, x, interval.start, raised, t)
        node = Node(t, raised, denoise(raised, table.time_scale[i, 0] * t))
        history = (node, *history)[: table.weights.shape[1]]
        factors = (interval.end - t) * table.direction_scale[i] * table.weights[i]
        return plus(raised, factors, [node.direction for node in history]), history


@dataclass(frozen=True)
class PlugIn:
    """AdaSDE in front of another solver: inject noise, then let ``inner`` step from the raised level.

    Evaluation e of step i sees the direction times lambda = ``direction_scale[i, e]``, with the network
    told mu = ``time_scale[i, e]`` times its noise level (None: both 1). At gamma = 0, lambda = mu = 1 the
    step is ``inner``'s. A multistep solver's memory is carried through the injection (see ``carried``).

    Attributes:
        inner: a deterministic solver.
        gamma: [N] >= 0.
        direction_scale, time_scale: [N, E] > 0 with E = ``inner.evaluations``.
    """

    inner: Solver
    gamma: Tensor
    direction_scale: Tensor | None = None
    time_scale: Tensor | None = None

    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.inner.stochastic:
            raise SolverError(
                "a plug-in brings its own noise: put it in front of a deterministic solver, not "
                f"{self.inner!r}."
            )
        steps = len(self.gamma)
        for name in ("direction_scale", "time_scale"):
            scale = getattr(self, name)
            if scale is not None and scale.shape != (steps, self.inner.evaluations):
                raise SolverError(
                    f"{name} must have shape [{steps}, {self.inner.evaluations}] for {steps} steps of "
                    f"{self.inner!r}, got {list(scale.shape)}."
                )

    @property
    def evaluations(self) -> int:
        """Those of the solver behind it."""
        return self.inner.evaluations

    @property
    def convergence(self) -> int:
        """That of the solver behind it."""
        return self.inner.convergence

    def step(
        self, denoise: Denoiser, x: Tensor, interval: Interval, history: History
    ) -> tuple[Tensor, History]:
        i, t = interval.index, interval.start
        raised, t_hat = inject(x, t, self.gamma[i], interval.noise)
        if raised is not x:
            check_below(history, t, t_hat)
            history = carried(history, x, t, raised, t_hat)
        if self.direction_scale is not None and self.time_scale is not None:
            denoise = Scaled(denoise, self.direction_scale[i], self.time_scale[i])
        return self.inner.step(denoise, raised, replace(interval, start=t_hat), history)


def carried(history: History, x: Tensor, t: Tensor, raised: Tensor, t_hat: Tensor) -> History:
    """The memory of a multistep solver on the trajectory that new noise has moved it to.

    New noise turns the direction (x - x0) / sigma by about
    delta = (x^ - x0) / t^ - (x - x0) / t, with x0 the newest clean estimate, and leaves the clean estimates
    as they were. Every earlier state moves by sigma * delta, so that its direction turns by delta too, and
    solvers that remember directions and solvers that remember clean estimates agree. Exact where D is
    constant along the walk; nothing changes as gamma -> 0.
    """
    if not history:
        return history
    clean = history[0].output
    delta = (raised - clean) / t_hat - (x - clean) / t
    return tuple(replace(node, state=node.state + node.sigma * delta) for node in history)


def check_below(history: History, t: Tensor, t_hat: Tensor) -> None:
    """Refuse a level ``t_hat`` that is not below the newest node that a formula is a polynomial through.

    Raises:
        SolverError: says which node.
    """
    if not history:
        return
    before = history[0].sigma
    if not float(t_hat.detach()) < float(before.detach()):
        raise SolverError(
            f"the noise raises the level {float(t):.6g} to {float(t_hat):.6g}, above the node before it "
            f"({float(before):.6g}), which a multistep solver remembers: use fewer steps or a smaller gamma."
        )


class Scaled:
    """D of which the direction is scaled: x - lambda (x - D(x, mu sigma)); call e of a step has its own."""

    def __init__(self, denoise: Denoiser, direction_scale: Tensor, time_scale: Tensor) -> None:
        self.denoise = denoise
        self.scales = iter(zip(direction_scale.unbind(), time_scale.unbind(), strict=True))

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        scale, time = next(self.scales)
        return x - scale * (x - self.denoise(x, time * sigma))
