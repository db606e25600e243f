"""The network of the bundled digits model: a residual MLP on flattened pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class NoiseEmbedding(nn.Module):
    """``c_noise`` [B] -> [B, width]: sines and cosines of geometric frequencies, then two layers."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        frequencies = math.pi / 4 * torch.logspace(0, 4, width // 2, base=2)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, c_noise: Tensor) -> Tensor:
        """Embed ``c_noise`` [B]."""
        angles = c_noise[:, None] * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))


class ResidualBlock(nn.Module):
    """``h + W SiLU((1 + scale) norm(h) + shift)``; scale and shift come from the noise embedding."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """``hidden`` [B, width], ``embedding`` [B or 1, embedding] -> [B, width]."""
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        active = nn.functional.silu(torch.addcmul(shift, self.norm(hidden), 1 + scale))
        return hidden + self.linear(self.dropout(active))


class ResidualMLP(nn.Module):
    """``F(x, c_noise)`` for images ``x`` [B, *shape] and ``c_noise`` [B] or [1] (shared by the batch)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        width: int = 320,
        depth: int = 5,
        embedding: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        pixels = math.prod(shape)
        self.embedding = NoiseEmbedding(embedding)
        self.enter = nn.Linear(pixels, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, embedding, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, pixels)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """The raw output, of the shape of ``x``."""
        embedding = self.embedding(c_noise)
        hidden = self.enter(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.leave(self.norm(hidden)).reshape(x.shape)
