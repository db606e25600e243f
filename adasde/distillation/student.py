"""The student: unconstrained parameters of the coefficients."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adasde.distillation.config import NODE_BY_NODE, DistillSettings
from adasde.errors import CoefficientsError
from adasde.sampling.coefficients import MULTISTEP, OWN, Coefficients
from adasde.sampling.solvers import adams_bashforth, evaluations_of

OUTER_MIDPOINT, INNER_MIDPOINT = 0.2, 0.45
"""Initial midpoint exponents r: of the first and last step, and of those between."""

GAMMA_SHIFT = 2 * math.log(1.5)
"""Offset of raw gamma, with which 0 stands for 0.6 of its range, as in the reference implementation."""

START_GAMMA = 0.3
"""Initial raw gamma; at 0 its gradient would vanish, because gamma is even in it."""

LEAST_SHARE = 1e-6
"""Share of gamma's range with which training begins where a table has none, so that there is a gradient."""

HISTORY_RATE = 0.5
"""Learning rate of the weights of earlier evaluations, relative to the other parameters."""


class Student(nn.Module):
    """Learnable coefficients, parametrised as in the reference implementation (2510.23285).

    r = sigmoid(raw), λ = 1 + scale_dir tanh(raw / 2), μ = 1 + scale_time tanh(raw / 2), w = softmax(raw),
    γ = gamma_min + (gamma_max - gamma_min) u, 0 at the first step, with u = sigmoid((raw + 2 ln 1.5) / 2)
    node by node, as they have it, and u = tanh(raw)² end to end. In the multistep form w of earlier
    evaluations is ``neutral`` + raw / 2, the newest has the rest of 1, and γ is 0 before the first one.
    With ``learn_grid`` the inner nodes are learned: interval i has its share of ln(sigma_max / sigma_min)
    times exp(raw_i), renormalised, so that the ends stay (the idea of LD3, Tong et al., 2405.15506).

    Args:
        sigmas: [N+1] initial grid.
        settings: form, learned grid and ranges of the coefficients.
        afs: the first evaluation is the analytic first step.
    """

    def __init__(self, sigmas: Tensor, settings: DistillSettings, *, afs: bool) -> None:
        super().__init__()
        self.start, self.settings, self.afs = sigmas.double(), settings, afs
        solver, steps = settings.solver, len(sigmas) - 1
        points = settings.points if solver == OWN else evaluations_of(solver)
        self.neutral = adams_bashforth(steps, settings.history) if solver == MULTISTEP else None
        """[N, H] weights of the multistep form at zero; None in the others."""

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape, dtype=torch.float64))

        own = points if solver == OWN else 0
        self.gamma = zeros(steps)
        self.midpoint = zeros(steps, own)
        self.weights = zeros(steps, own if self.neutral is None else settings.history)
        self.direction_scale, self.time_scale = zeros(steps, points), zeros(steps, points)
        self.intervals = zeros(steps) if settings.learn_grid else None

    def forward(self) -> Coefficients:
        """Coefficients, differentiable in the raw parameters."""
        settings = self.settings
        return Coefficients(
            sigmas=self.sigmas(),
            gamma=self._gamma(),
            midpoint=torch.sigmoid(self.midpoint),
            direction_scale=1 + settings.scale_dir * torch.tanh(self.direction_scale / 2),
            time_scale=1 + settings.scale_time * torch.tanh(self.time_scale / 2) * self._scales_time(),
            weights=self._weights(),
            afs=self.afs,
            solver=settings.solver,
            options=settings.solver_options,
        )

    def sigmas(self) -> Tensor:
        """Grid [N+1]; both ends are fixed."""
        if self.intervals is None:
            return self.start
        logs = self.start.log()
        shares = torch.softmax((logs[:-1] - logs[1:]).log() + self.intervals, dim=0)
        inner = logs[0] + (logs[-1] - logs[0]) * shares.cumsum(0)[:-1]
        return torch.cat([self.start[:1], inner.exp(), self.start[-1:]])

    def _weights(self) -> Tensor:
        if self.neutral is None:
            return torch.softmax(self.weights, dim=1)
        earlier = (self.neutral + HISTORY_RATE * self.weights.tril())[:, 1:]
        return torch.cat([1 - earlier.sum(1, keepdim=True), earlier], dim=1)

    def _gamma(self) -> Tensor:
        lowest, highest = self.settings.gamma_min, self.settings.gamma_max
        if not highest:
            return torch.zeros_like(self.gamma)
        first = self._first_noisy_step()
        share = self._gamma_share(self.gamma[first:])
        return torch.cat([self.gamma.new_zeros(first), lowest + (highest - lowest) * share])

    def _gamma_share(self, raw: Tensor) -> Tensor:
        if self.settings.loop == NODE_BY_NODE:
            return torch.sigmoid((raw + GAMMA_SHIFT) / 2)
        return torch.tanh(raw) ** 2

    def _first_noisy_step(self) -> int:
        """Number of steps without noise: 1, and in the multistep form all before the first evaluation.

        Noise there would only be another latent, and programs that evaluate first could not draw it.
        """
        return min(len(self.gamma), 2 if self.afs and self.settings.solver == MULTISTEP else 1)

    def _scales_time(self) -> Tensor:
        """Mask [N, points]: 0 where no evaluation uses the time scale (a plug-in's analytic first step)."""
        mask = torch.ones_like(self.time_scale)
        if self.afs and self.settings.solver != OWN:
            mask[0, 0] = 0
        return mask

    @torch.no_grad()
    def to_start(self) -> None:
        """Set the fixed, stable start of distillation.

        Neutral coefficients are unstable at 2 to 4 steps: the geometric midpoint of the last interval is far
        too small. Smaller r is close to where good tables end. Points of one step are spread around that
        start, because equal points would receive equal gradients.
        """
        self.gamma.fill_(START_GAMMA)
        steps, points = self.midpoint.shape
        if not points:
            return
        start = torch.full((steps, 1), INNER_MIDPOINT, dtype=torch.float64)
        start[0] = start[-1] = OUTER_MIDPOINT
        spread = torch.linspace(-0.5, 0.5, points, dtype=torch.float64) if points > 1 else torch.zeros(1)
        self.midpoint.copy_(torch.logit(start) + spread)

    @torch.no_grad()
    def to_random(self, generator: torch.Generator) -> None:
        """Set every parameter to a number from N(0, 1), as the reference implementation does."""
        for parameter in self.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))

    @torch.no_grad()
    def to_table(self, table: Coefficients) -> None:
        """Set the parameters such that ``forward`` gives ``table``, which must have the student's grid.

        Gamma becomes at least gamma_min and a millionth of its range, where it has a gradient.

        Raises:
            CoefficientsError: a value outside the ranges of gamma_max, scale_dir and scale_time.
        """
        self._to_gamma(table.gamma)
        self.midpoint.copy_(torch.logit(table.midpoint))
        if self.neutral is None:
            self.weights.copy_(_positive(table.weights).log())
        else:
            self.weights.copy_((table.weights - self.neutral) / HISTORY_RATE)
        for name, setting in (("direction_scale", "scale_dir"), ("time_scale", "scale_time")):
            share = _inside(getattr(table, name) - 1, getattr(self.settings, setting), name, setting)
            getattr(self, name).copy_(2 * share.atanh())

    def _to_gamma(self, gamma: Tensor) -> None:
        lowest, highest = self.settings.gamma_min, self.settings.gamma_max
        _inside(gamma, highest, "gamma", "gamma_max")
        if highest > lowest:
            share = ((gamma - lowest) / (highest - lowest)).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
            by_node = self.settings.loop == NODE_BY_NODE
            self.gamma.copy_(2 * torch.logit(share) - GAMMA_SHIFT if by_node else share.sqrt().atanh())


def _inside(distance: Tensor, bound: float, name: str, setting: str) -> Tensor:
    """``distance`` / ``bound``, which must lie inside (-1, 1)."""
    if not bool(distance.any()):
        return torch.zeros_like(distance)
    farthest = float(distance.abs().max())
    if farthest >= bound:
        what = "gamma" if name == "gamma" else f"{name} - 1"
        raise CoefficientsError(
            f"distillation cannot start from these coefficients: their |{what}| goes to {farthest:.4g}, "
            f"which distill.{setting} = {bound:g} does not allow. Set distill.{setting} above "
            f"{farthest:.4g}, or leave distill.start at null."
        )
    return distance / bound


def _positive(weights: Tensor) -> Tensor:
    if bool((weights <= 0).any()):
        raise CoefficientsError(
            "distillation cannot start from these coefficients: it learns weights above 0, and theirs are "
            "not. Start from other coefficients, or leave distill.start at null."
        )
    return weights
