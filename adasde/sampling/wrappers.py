"""Wrappers around a denoiser: counting its evaluations, the analytic first step, the network's edge."""

from __future__ import annotations

import math

from torch import Tensor

from adasde.errors import SolverError
from adasde.types import Denoiser


class Counting:
    """Counts network evaluations per sample; wrap the network itself, inside every other wrapper.

    A call counts as ``denoise.cost`` evaluations (1 where it has no such attribute).
    """

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.cost: int = getattr(denoise, "cost", 1)
        self.nfe = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.nfe += self.cost
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


class Finite:
    """Refuses a clean estimate that is not finite where it appears, instead of an image of NaN at the end.

    Raises:
        SolverError: NaN or infinity in the output; says at which noise level and in how many samples.
    """

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        out = self.denoise(x, sigma)
        # What is not finite has no finite sum, and a sum is several times quicker; it may overflow by itself.
        if isinstance(out, Tensor) and not (math.isfinite(out.sum().item()) or bool(out.isfinite().all())):
            broken = int((~out.isfinite()).flatten(1).any(1).sum())
            before = int((~x.isfinite()).flatten(1).any(1).sum())
            where = f"the state it was given was not finite in {before}" if before else "for a finite state"
            raise SolverError(
                f"the denoiser returned NaN or infinity at sigma = {float(sigma):.6g} in {broken} of "
                f"{len(x)} samples ({where}); it must return finite clean estimates. Check the weights, "
                "the dtype (float16 overflows where float32 does not) and the range of sigma."
            )
        return out


class AnalyticFirstStep:
    """AFS: the first evaluation's direction is d = x / sqrt(1 + sigma^2) and the network is not asked.

    It is the direction of a data set with unit variance, nearly exact where sigma is large
    (Dockhorn et al., GENIE, 2210.05475). Works with every solver: D(x, sigma) = x - sigma d. One wrapper
    serves one walk: it is the first call that is analytic, not a noise level, because learned time scales
    tell the network levels that may lie on either side of the first node's.
    """

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.first = True

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if not self.first:
            return self.denoise(x, sigma)
        self.first = False
        return x * (1 - sigma / (1 + sigma**2).sqrt())
