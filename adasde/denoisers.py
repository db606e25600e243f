"""Wrappers around a denoiser: counting its evaluations, the analytic first step, the network's edge."""

from __future__ import annotations

from torch import Tensor

from adasde.errors import SolverError
from adasde.types import Denoiser


class Counting:
    """Counts network evaluations per sample; wrap the network itself, inside every other wrapper."""

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.nfe = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.nfe += 1
        return self.denoise(x, sigma)


class Edge:
    """The edge between solvers and network: sigma arrives in x's dtype and device, results are checked.

    Solvers compute noise levels as float64 scalars on the CPU; a network wants its own dtype and device.

    Raises:
        SolverError: the denoiser returned another shape or dtype than it was given.
    """

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        out = self.denoise(x, sigma.to(x))
        if out.shape != x.shape or out.dtype != x.dtype:
            raise SolverError(
                f"the denoiser returned {list(out.shape)} {out.dtype} for {list(x.shape)} {x.dtype}; "
                "it must return the clean estimate in its input's shape and dtype."
            )
        return out


class AnalyticFirstStep:
    """AFS: at the first node the direction is d = x / sqrt(1 + sigma^2) and the network is not asked.

    It is the direction of a data set with unit variance, nearly exact where sigma is large
    (Dockhorn et al., GENIE, 2210.05475). Works with every solver: D(x, sigma) = x - sigma d.
    """

    def __init__(self, denoise: Denoiser, first: Tensor) -> None:
        """``first``: the first node of the grid, a scalar."""
        self.denoise = denoise
        self.first = float(first.detach())

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if float(sigma.detach()) != self.first:
            return self.denoise(x, sigma)
        return x * (1 - sigma / (1 + sigma**2).sqrt())
