"""Unconstrained parameters whose ``forward`` is a coefficient table; zeros give DPM-Solver-2 exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adasde.coefficients import Coefficients

OUTER_MIDPOINT, INNER_MIDPOINT = 0.2, 0.45
"""Where distillation starts: r of the first and last interval, and of those between."""

START_GAMMA = 0.3
"""Raw gamma at the start: at 0 it would have no gradient, because noise of either sign does the same."""


class Parametrisation(nn.Module):
    """Raw parameters [N, K] (gamma [N]) in the spirit of the release's, but neutral at zero.

    r = sigmoid(raw); lambda = 1 + scale_dir tanh(raw / 2); mu = 1 + scale_time tanh(raw / 2);
    w = softmax(raw); gamma = gamma_max tanh(raw)^2, 0 at the first step.
    """

    def __init__(
        self, sigmas: Tensor, *, points: int, afs: bool, gamma_max: float, scale_dir: float, scale_time: float
    ) -> None:
        super().__init__()
        steps = len(sigmas) - 1
        self.sigmas, self.afs = sigmas.double(), afs
        self.gamma_max, self.scale_dir, self.scale_time = gamma_max, scale_dir, scale_time

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape, dtype=torch.float64))

        self.gamma = zeros(steps)
        self.midpoint, self.weights = zeros(steps, points), zeros(steps, points)
        self.direction_scale, self.time_scale = zeros(steps, points), zeros(steps, points)

    def forward(self) -> Coefficients:
        """The table, with gradients to the raw parameters."""
        first_off = torch.cat([torch.zeros(1, dtype=torch.float64), torch.tanh(self.gamma[1:]) ** 2])
        return Coefficients(
            sigmas=self.sigmas,
            gamma=self.gamma_max * first_off,
            midpoint=torch.sigmoid(self.midpoint),
            direction_scale=1 + self.scale_dir * torch.tanh(self.direction_scale / 2),
            time_scale=1 + self.scale_time * torch.tanh(self.time_scale / 2),
            weights=torch.softmax(self.weights, dim=1),
            afs=self.afs,
        )

    @torch.no_grad()
    def to_start(self) -> None:
        """Set the fixed, stable start of distillation.

        The neutral table is itself unstable at 2 to 4 intervals: the geometric midpoint of the last
        interval is far too small. Early midpoints are close to where good tables end. Points of one
        step are spread around that start, because equal points would receive equal gradients.
        """
        steps, points = self.midpoint.shape
        start = torch.full((steps, 1), INNER_MIDPOINT, dtype=torch.float64)
        start[0] = start[-1] = OUTER_MIDPOINT
        spread = torch.linspace(-0.5, 0.5, points, dtype=torch.float64) if points > 1 else torch.zeros(1)
        self.midpoint.copy_(torch.logit(start) + spread)
        self.gamma.fill_(START_GAMMA)
