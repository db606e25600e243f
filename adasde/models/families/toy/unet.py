"""The network of the bundled glyphs model: a small class-conditional U-Net on 2x2 patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adasde.models.families.toy.mlp import NoiseEmbedding

GROUP = 8  # channels a group of the normalisation


def _norm(channels: int, *, affine: bool = True) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP, channels, affine=affine)


class ConvBlock(nn.Module):
    """``h + W SiLU((1 + scale) norm(V SiLU(norm(h))) + shift)``, V and W convolutions.

    The embedding gives scale and shift.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            _norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        )
        self.norm = _norm(channels, affine=False)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.leave = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """``hidden`` [B, channels, h, w], ``embedding`` [B or 1, embedding] -> like ``hidden``."""
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        active = torch.addcmul(shift, self.norm(self.enter(hidden)), 1 + scale)
        return hidden + self.leave(nn.functional.silu(active))


class Attention(nn.Module):
    """Every position attends to every other: ``h + W softmax(q k) v`` on the normalised ``h``."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(channels)
        self.enter = nn.Linear(channels, 3 * channels)
        self.leave = nn.Linear(channels, channels)
        nn.init.zeros_(self.leave.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """``hidden`` [B, channels, h, w] -> the same shape."""
        tokens = self.norm(hidden).flatten(2).transpose(1, 2)  # [B, positions, channels]
        parts = self.enter(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts.unbind(0))
        result = self.leave(mixed.transpose(1, 2).flatten(2))
        return hidden + result.transpose(1, 2).reshape(hidden.shape)


class UNet(nn.Module):
    """``F(x, c_noise, labels)`` for images ``x`` [B, C, H, W] (H and W multiples of 4).

    Works on patches of 2x2 pixels, at half and at a quarter of the resolution. ``labels`` [B] int64 are
    0 .. ``classes`` - 1, or ``classes`` for the null class; ``c_noise`` is [B] or [1] (shared by the batch).
    """

    def __init__(
        self, image_channels: int, *, classes: int, width: int = 64, blocks: int = 3, embedding: int = 96
    ) -> None:
        super().__init__()
        pixels, wide = 4 * image_channels, 2 * width
        self.classes = classes
        self.noise = NoiseEmbedding(embedding)
        self.label = nn.Embedding(classes + 1, embedding)
        self.mix = nn.Sequential(nn.Linear(2 * embedding, embedding), nn.SiLU())
        self.enter = nn.Conv2d(pixels, width, 3, padding=1)
        self.down = ConvBlock(width, embedding)
        self.shrink = nn.Conv2d(width, wide, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(ConvBlock(wide, embedding) for _ in range(blocks))
        self.attention = Attention(wide, heads=4)
        self.grow = nn.Conv2d(wide, 4 * width, 1)
        self.merge = nn.Conv2d(2 * width, width, 1)
        self.up = ConvBlock(width, embedding)
        last = nn.Conv2d(width, pixels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.leave = nn.Sequential(_norm(width), nn.SiLU(), last)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The raw output, of the shape of ``x``; no ``labels``: all of the null class."""
        if labels is None:
            labels = torch.full((1,), self.classes, device=x.device)
        embedding = self._embed(c_noise, labels)
        fine = self.down(self.enter(nn.functional.pixel_unshuffle(x, 2)), embedding)
        hidden = self.shrink(fine)
        for index, block in enumerate(self.middle):
            hidden = block(hidden, embedding)
            if index == 0:
                hidden = self.attention(hidden)
        grown = nn.functional.pixel_shuffle(self.grow(hidden), 2)
        hidden = self.up(self.merge(torch.cat([grown, fine], dim=1)), embedding)
        return nn.functional.pixel_shuffle(self.leave(hidden), 2)

    def _embed(self, c_noise: Tensor, labels: Tensor) -> Tensor:
        """Modulation of the blocks, [B or 1, embedding]."""
        parts = self.noise(c_noise), self.label(labels)
        count = max(len(part) for part in parts)
        return self.mix(torch.cat([part.expand(count, -1) for part in parts], dim=1))
