"""Solvers with learned coefficients: AdaSDE's own step, its multistep form, and its plug-in form."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.coefficients import MULTISTEP, OWN, Coefficients
from adasde.sampling.solvers.base import History, Interval, Node, Solver, Step
from adasde.sampling.solvers.formulas import between, direction, inject, plus
from adasde.sampling.solvers.registry import make_solver
from adasde.types import Denoiser


def sampler_of(table: Coefficients) -> Solver:
    """The solver with these coefficients: AdaSDE's own step, its multistep form, or a plug-in.

    Raises:
        SolverError: ``table.solver`` or its options do not exist, or do not fit the table's shape.
    """
    if table.solver == OWN:
        return AdaSDE(table)
    if table.solver == MULTISTEP:
        return Multistep(table)
    inner = make_solver(table.solver, table.options)
    return PlugIn(inner, table.gamma, table.direction_scale, table.time_scale)


@dataclass(frozen=True)
class AdaSDE(Solver):
    """AdaSDE's own step with learned coefficients (2510.23285): noise, then K scaled points.

    From t to s, with t̂ = (1 + γ) t, d = (x̂ − D(x̂, t̂)) / t̂, m_k = s^(r_k) t̂^(1 − r_k),
    x_k = x̂ + (m_k − t̂) d and d_k = (x_k − D(x_k, μ_k m_k)) / m_k:
    x' = x̂ + (s − t̂) Σ_k w_k λ_k d_k.
    """

    coefficients: Coefficients

    stochastic = True

    @property
    def evaluations(self) -> int:
        """K + 1."""
        return self.coefficients.points + 1

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        table, i, s = self.coefficients, interval.index, interval.end
        x_hat, t_hat = inject(x, interval.start, table.gamma[i], interval.noise)
        d = direction(denoise, x_hat, t_hat)
        total = torch.zeros_like(x_hat)
        for k in range(table.points):
            m_k = between(t_hat, s, table.midpoint[i, k])
            x_k = x_hat + (m_k - t_hat) * d
            d_k = (x_k - denoise(x_k, table.time_scale[i, k] * m_k)) / m_k
            total = total + table.weights[i, k] * table.direction_scale[i, k] * d_k
        return x_hat + (s - t_hat) * total, history


@dataclass(frozen=True)
class Multistep(Solver):
    """AdaSDE with a learned sum of the newest directions; one evaluation a step.

    x' = x̂ + (s − t̂) λ Σ_j w_j d_j with d_0 = (x̂ − D(x̂, μ t̂)) / t̂, and d_1, d_2 … the directions of the
    steps before, which new noise turns too (see ``carried``). Fixed weights give iPNDM (Zhang and Chen,
    2204.13902); here every step has its own. Gradients: first derivatives by ``backward`` or
    ``torch.autograd.grad`` (see ``plus``).
    """

    coefficients: Coefficients

    stochastic = True

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        table, i = self.coefficients, interval.index
        x_hat, t_hat = inject(x, interval.start, table.gamma[i], interval.noise)
        if x_hat is not x:
            history = carried(history, x, interval.start, x_hat, t_hat)
        node = Node(t_hat, x_hat, denoise(x_hat, table.time_scale[i, 0] * t_hat))
        history = (node, *history)[: table.weights.shape[1]]
        factors = (interval.end - t_hat) * table.direction_scale[i] * table.weights[i]
        return plus(x_hat, factors, [node.direction for node in history]), history


@dataclass(frozen=True)
class PlugIn(Solver):
    """AdaSDE in front of another solver: inject noise, then step with ``inner`` from the raised level t̂.

    Evaluation e of step i scales its direction by λ = ``direction_scale[i, e]`` and the network's noise level
    by μ = ``time_scale[i, e]`` (None: both 1). At γ = 0, λ = μ = 1 the step is ``inner``'s. A multistep
    solver's history is carried through the injection (see ``carried``).

    Attributes:
        inner: a deterministic solver.
        gamma: [N] >= 0.
        direction_scale, time_scale: [N, E] > 0 with E = ``inner.evaluations``.
    """

    inner: Solver
    gamma: Tensor
    direction_scale: Tensor | None = None
    time_scale: Tensor | None = None

    stochastic = True

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
        """Evaluations of ``inner``."""
        return self.inner.evaluations

    @property
    def convergence(self) -> int:
        """Order of ``inner``."""
        return self.inner.convergence

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        i, t = interval.index, interval.start
        x_hat, t_hat = inject(x, t, self.gamma[i], interval.noise)
        if x_hat is not x:
            check_below(history, t, t_hat)
            history = carried(history, x, t, x_hat, t_hat)
        if self.direction_scale is not None and self.time_scale is not None:
            denoise = Scaled(denoise, self.direction_scale[i], self.time_scale[i])
        return self.inner.step(denoise, x_hat, replace(interval, start=t_hat), history)


def carried(history: History, x: Tensor, t: Tensor, x_hat: Tensor, t_hat: Tensor) -> History:
    """``history`` on the trajectory that noise has moved the state to, from (x, t) to (x̂, t̂).

    Noise turns the direction (x − x₀) / σ by about δ = (x̂ − x₀) / t̂ − (x − x₀) / t, x₀ the newest clean
    estimate, and leaves clean estimates as they were. Every earlier state moves by σ δ, so that its direction
    turns by δ too, and solvers that remember directions and those that remember clean estimates agree. Exact
    where D is constant along the trajectory; the identity as γ → 0.
    """
    if not history:
        return history
    clean = history[0].output
    delta = (x_hat - clean) / t_hat - (x - clean) / t
    return tuple(replace(node, state=node.state + node.sigma * delta) for node in history)


def check_below(history: History, t: Tensor, t_hat: Tensor) -> None:
    """Raise SolverError if the raised level ``t_hat`` is not below the newest remembered node's."""
    if not history:
        return
    before = history[0].sigma
    if not float(t_hat.detach()) < float(before.detach()):
        raise SolverError(
            f"the noise raises the level {float(t):.6g} to {float(t_hat):.6g}, above the node before it "
            f"({float(before):.6g}), which a multistep solver remembers: use fewer steps or a smaller gamma."
        )


class Scaled:
    """Denoiser with scaled directions, x − λ (x − D(x, μ σ)); evaluation e of a step has its own λ and μ."""

    def __init__(self, denoise: Denoiser, direction_scale: Tensor, time_scale: Tensor) -> None:
        self.denoise = denoise
        self.scales = iter(zip(direction_scale.unbind(), time_scale.unbind(), strict=True))

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        scale, time = next(self.scales)
        return x - scale * (x - self.denoise(x, time * sigma))
