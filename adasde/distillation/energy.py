"""The energy distance between generated and real samples: a loss that does not punish noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LIMIT = 4096
"""Real samples that are compared with; more are thinned out by a fixed seed."""


@dataclass(frozen=True)
class Reference:
    """Features [n, F] of real samples and the mean distance ``spread`` between two of them."""

    features: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Reference:
        """Up to ``LIMIT`` of the rows of ``features`` [n, F], at least two."""
        with torch.no_grad():
            kept = thinned(features)
            return cls(kept, torch.cdist(kept, kept).sum() / (len(kept) * (len(kept) - 1)))


def thinned(rows: Tensor) -> Tensor:
    """``LIMIT`` of the ``rows`` at most, always the same ones."""
    if len(rows) <= LIMIT:
        return rows
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:LIMIT]]


def energy_distance(features: Tensor, reference: Reference) -> Tensor:
    """2 E|f - r| - E|f - f'| - E|r - r'|, unbiased: 0 on average where both have one distribution.

    ``features`` [B, F], B >= 2, with gradients. Unlike a paired error it does not ask which sample lies
    where, so that noise is not punished for moving samples along the distribution (Székely and Rizzo, 2013).
    """
    count = len(features)
    across = torch.cdist(features, reference.features.to(features)).mean()
    within = torch.cdist(features, features).sum() / (count * (count - 1))
    return 2 * across - within - reference.spread.to(features)
