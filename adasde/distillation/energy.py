"""Energy distance between generated and real samples (Székely and Rizzo, 2013): it does not punish noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LIMIT = 4096
"""Highest number of real samples to compare with."""


@dataclass(frozen=True)
class EnergyReference:
    """Features [n, F] of real samples and the mean distance ``spread`` between two of them."""

    features: Tensor
    spread: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, features: Tensor) -> EnergyReference:
        """Reference of at most ``LIMIT`` rows of ``features`` [n, F], n >= 2."""
        kept = thinned(features)
        return cls(kept, torch.cdist(kept, kept).sum() / (len(kept) * (len(kept) - 1)))


def thinned(rows: Tensor) -> Tensor:
    """At most ``LIMIT`` of the ``rows``, always the same ones."""
    if len(rows) <= LIMIT:
        return rows
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:LIMIT]]


def energy_distance(features: Tensor, reference: EnergyReference) -> Tensor:
    """2 E|f − r| − E|f − f'| − E|r − r'|, unbiased: 0 on average where both have one distribution.

    ``features`` [B, F], B >= 2, with gradients. Unlike a teacher-matching loss it does not compare sample by
    sample, so that noise may move samples along the distribution.
    """
    count = len(features)
    across = torch.cdist(features, reference.features.to(features)).mean()
    within = torch.cdist(features, features).sum() / (count * (count - 1))
    return 2 * across - within - reference.spread.to(features)
