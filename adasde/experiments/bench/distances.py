"""Distances between clouds of points."""

from __future__ import annotations

import torch
from torch import Tensor

from adasde.errors import DataError

PROJECTIONS = 256


def sliced_wasserstein(
    left: Tensor, right: Tensor, *, projections: int = PROJECTIONS, seed: int = 0
) -> float:
    """Sliced Wasserstein-2 distance of the clouds ``left`` [n, F] and ``right`` [k n, F], k = 1, 2, ...

    The root of the mean, over ``projections`` seeded random directions, of the squared Wasserstein-2
    distance of the projections, which sorting gives exactly (Bonneel et al., 2015, eq. 5). In the units of
    the points; 0 for equal clouds.

    Raises:
        DataError: shapes that do not fit, or points that are not finite.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1] or len(right) % len(left):
        raise DataError(
            "sliced Wasserstein compares clouds [n, F] and [k n, F], got "
            f"{list(left.shape)} and {list(right.shape)}."
        )
    if not (bool(left.isfinite().all()) and bool(right.isfinite().all())):
        raise DataError("sliced Wasserstein: a cloud holds points that are not finite.")
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(left.shape[1], projections, dtype=torch.float64, generator=generator)
    directions = directions / directions.norm(dim=0)
    ours, theirs = ((cloud.double() @ directions).sort(dim=0).values for cloud in (left, right))
    ours = ours.repeat_interleave(len(right) // len(left), dim=0)
    return float((ours - theirs).square().mean().sqrt())
