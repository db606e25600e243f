"""The mixture that the tests share."""

from __future__ import annotations

import torch

from adasde.sampling.analytic import Mixture


def small_mixture() -> Mixture:
    """Five well separated components in 6 dimensions, seeded."""
    generator = torch.Generator().manual_seed(7)
    means = torch.randn(5, 6, dtype=torch.float64, generator=generator)
    return Mixture(means, torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64), 0.25)
