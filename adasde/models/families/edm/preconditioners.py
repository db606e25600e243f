"""The preconditioners of VP, VE, iDDPM and EDM (Karras et al., arXiv 2206.00364, Table 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from adasde.models.core.preconditioning import Preconditioned, Preconditioner, Scalings

NAME = "model"  # of the network, in front of the names of its weights in the published files


class VPPrecond(Preconditioner):
    """The network predicts noise; its input is the time t of the VP process, on the scale 0 .. steps - 1."""

    def __init__(
        self, network: nn.Module, *, beta_d: float = 19.9, beta_min: float = 0.1, steps: int = 1000
    ) -> None:
        """``beta_d``, ``beta_min``: noise is added at the rate beta_min + beta_d t."""
        super().__init__(network, name=NAME)
        self.beta_d = beta_d
        self.beta_min = beta_min
        self.steps = steps

    def scalings(self, sigma: Tensor) -> Scalings:
        variance = 1 + sigma**2
        root = (self.beta_min**2 + 2 * self.beta_d * variance.log()).sqrt()
        time = (root - self.beta_min) / self.beta_d
        return Scalings(1.0, -sigma, variance.sqrt(), (self.steps - 1) * time)


class VEPrecond(Preconditioner):
    """The network predicts the negative noise; its input is ln(sigma / 2)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, name=NAME)

    def scalings(self, sigma: Tensor) -> Scalings:
        return Scalings(1.0, sigma, 1.0, (sigma / 2).log())


class IDDPMPrecond(Preconditioner):
    """The network predicts noise at one of ``steps`` discrete levels; its input is the nearest one's index.

    ``u`` [steps + 1] falls from the highest level to 0, with c1 and c2 of Table 1.
    """

    u: Tensor

    def __init__(
        self, network: nn.Module, *, c1: float = 0.001, c2: float = 0.008, steps: int = 1000
    ) -> None:
        super().__init__(network, name=NAME)
        self.register_buffer("u", levels(c1, c2, steps))

    def scalings(self, sigma: Tensor) -> Scalings:
        distance = (sigma.detach().float().reshape(-1, 1) - self.u).abs()
        index = distance.argmin(1).reshape(sigma.shape)
        return Scalings(1.0, -sigma, (1 + sigma**2).sqrt(), (len(self.u) - 2 - index).to(sigma))


class EDMPrecond(Preconditioned):
    """EDM's own; ``sigma_data`` is a setting, not among the published weights."""

    def __init__(self, network: nn.Module, *, sigma_data: float = 0.5) -> None:
        super().__init__(network, sigma_data, name=NAME, persistent=False)


def levels(c1: float, c2: float, steps: int) -> Tensor:
    """The discrete noise levels of iDDPM [steps + 1], float32: u_steps = 0, the highest first.

    u_{j-1}^2 = (u_j^2 + 1) / max(a_{j-1} / a_j, c1) - 1 with a_j = sin^2(pi / 2 * j / (steps (c2 + 1))).
    """

    def kept(j: int) -> float:
        return math.sin(math.pi / 2 * j / (steps * (c2 + 1))) ** 2

    values = [0.0]
    for j in range(steps, 0, -1):
        values.append(math.sqrt((values[-1] ** 2 + 1) / max(kept(j - 1) / kept(j), c1) - 1))
    return torch.tensor(values[::-1])


PRECONDITIONERS: dict[str, Callable[..., Preconditioner]] = {
    "edm": EDMPrecond,
    "vp": VPPrecond,
    "ve": VEPrecond,
    "iddpm": IDDPMPrecond,
}
"""Name in a card -> the preconditioner, to be called with the network and its settings as keywords."""
