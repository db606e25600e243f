"""Wrappers around a denoiser: evaluation counts, checks and limits of its output, the analytic first step."""

from __future__ import annotations

import math

import torch
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
    """Boundary between solvers and network: casts sigma to x's dtype and device, and checks the output.

    Solvers compute noise levels as float64 scalars on the CPU; a network needs its own dtype and device.

    Raises:
        SolverError: the output differs from the input in shape or dtype.
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


class Clamped:
    """Denoiser whose clean estimates are clamped to [-1, 1], the range of images; not for latents."""

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.cost: int = getattr(denoise, "cost", 1)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoise(x, sigma).clamp(-1, 1)


class Finite:
    """Check for clean estimates that are not finite, at the evaluation where they appear.

    Raises:
        SolverError: NaN or infinity in the output; names the noise level and the number of samples.
    """

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        out = self.denoise(x, sigma)
        # a finite sum implies finite values and is several times faster; a sum may also overflow by itself
        if isinstance(out, Tensor) and not (math.isfinite(out.sum().item()) or bool(out.isfinite().all())):
            broken = int((~out.isfinite()).flatten(1).any(1).sum())
            before = int((~x.isfinite()).flatten(1).any(1).sum())
            where = f"its input was not finite in {before}" if before else "for a finite state"
            raise SolverError(
                f"the denoiser returned NaN or infinity at sigma = {float(sigma):.6g} in {broken} of "
                f"{len(x)} samples ({where}); it must return finite clean estimates. Check the weights, "
                "the dtype (float16 overflows where float32 does not) and the range of sigma."
            )
        return out


class AnalyticFirstStep:
    """AFS: the first evaluation is the analytic direction d = x / sqrt(1 + sigma²), without the network.

    d is the direction for data of unit variance, nearly exact where sigma is large (Dockhorn et al., GENIE,
    2210.05475). It works with every solver: D(x, sigma) = x − sigma d. A wrapper serves one trajectory: it
    replaces the first call and not a noise level, which learned time scales can move past the first node's.
    """

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.first = True

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if not self.first:
            return self.denoise(x, sigma)
        self.first = False
        return x * (1 - sigma / (1 + sigma**2).sqrt())


THRESHOLD_QUANTILE = 0.995
"""Share of the values of a sample that dynamic thresholding keeps as they are."""


class Thresholded:
    """Dynamic thresholding: clean estimates clamped to ± s and divided by s (Saharia et al., 2205.11487).

    s, for each sample, is the ``THRESHOLD_QUANTILE`` of |D(x, sigma)|, at least 1: the data lie in [-1, 1].
    The quantile is linear between the values next to it, as in ``torch.quantile``, which has a size limit.
    """

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        out = self.denoise(x, sigma)
        sizes = out.flatten(1).abs()
        rank = THRESHOLD_QUANTILE * (sizes.shape[1] - 1)
        highest = sizes.topk(sizes.shape[1] - math.floor(rank)).values
        above, below = highest[:, -2:-1] if highest.shape[1] > 1 else highest, highest[:, -1:]
        s = torch.lerp(below, above, rank % 1).clamp(min=1).reshape(-1, *[1] * (out.ndim - 1))
        return out.clamp(-s, s) / s
