"""A network that predicts noise, the image, v or a flow, as ``D(x, sigma)``."""

from __future__ import annotations

from torch import Tensor, nn

from adasde.models.preconditioning import Preconditioner, Scalings
from adasde.models.process import Process


class Predicted(Preconditioner):
    """``D(x, sigma)`` around a network that was trained by ``process``, which is told times, not levels."""

    def __init__(self, network: nn.Module, process: Process) -> None:
        super().__init__(network)
        self.process = process

    def scalings(self, sigma: Tensor) -> Scalings:
        of_x, of_output = self.process.factors(sigma)
        return Scalings(of_x, of_output, 1 / self.process.shrink(sigma), self.process.time(sigma))
