"""Noise from one generator for each sample, as pipelines draw it."""

from __future__ import annotations

import torch
from torch import Tensor


def generators(seeds) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def noise_of(seeds):
    """The noise that one generator for each sample gives."""
    drawn = generators(seeds)

    def noise(step: int, like: Tensor) -> Tensor:
        rows = [torch.randn(like.shape[1:], generator=one, dtype=like.dtype) for one in drawn]
        return torch.stack(rows)

    return noise


def difference(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).abs().max() / expected.abs().max())
