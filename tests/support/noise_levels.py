"""A model with the conventions of k-diffusion, and noise to begin with."""

from __future__ import annotations

import torch
from closed_form import small_mixture
from torch import Tensor

import adasde

SIZE = 6


def model(x: Tensor, sigma: Tensor, *, shift: float = 0.0) -> Tensor:
    """A mixture as a model of k-diffusion: one noise level for each sample."""
    assert sigma.shape == (len(x),)
    return small_mixture()(x, sigma[0]) + shift


def start(table: adasde.Coefficients, dtype: torch.dtype = torch.float64) -> Tensor:
    return adasde.latents(range(3), (SIZE,), dtype=dtype)
