"""Noise by seed: the latent and the injected noise of sample k depend on (seed k, step) alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LATENT = -1
"""The step number of the latent, before the injected noises of steps 0, 1, ..."""


class SeededNoise:
    """``noise(step, like)``: one counter-based stream (Philox 4x64) for every pair (seed, step).

    Batch size, order, device and dtype do not change a sample's noise beyond rounding: it is drawn in
    float64 on the CPU and then cast to the dtype and device of ``like`` [B, *shape], B = len(seeds).
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        """``seeds``: one integer in 0 .. 2^64 - 1 for every sample of the batch."""
        self.seeds = tuple(seeds)

    def __call__(self, step: int, like: Tensor) -> Tensor:
        if len(like) != len(self.seeds):
            raise ValueError(f"noise was seeded for {len(self.seeds)} samples, got a batch of {len(like)}")
        return draw(self.seeds, step, tuple(like.shape[1:])).to(like)


def draw(seeds: Sequence[int], step: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float64 [B, *shape]; row k depends on (seeds[k], step) alone."""
    philox = np.random.Philox(key=[0, 0])
    fresh = philox.state
    generator = np.random.Generator(philox)
    out = np.empty((len(seeds), *shape))
    for row, seed in zip(out, seeds, strict=True):
        fresh["state"]["key"][:] = seed, step + 1  # re-keying is ten times faster than a new generator
        philox.state = fresh
        generator.standard_normal(out=row)
    return torch.from_numpy(out)


def latents(
    seeds: Sequence[int],
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Starting points of sampling ~ N(0, I), [len(seeds), *shape]; latent k depends on seed k alone."""
    return draw(seeds, LATENT, tuple(shape)).to(dtype=dtype, device=device)
