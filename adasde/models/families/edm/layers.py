"""Layers of EDM's U-Nets: noise embeddings, halving and doubling, residual blocks with attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Direction = Literal["up", "down"]
BOX = (1, 1)  # the filter that averages two pixels, or repeats one


@dataclass(frozen=True)
class BlockStyle:
    """Settings that all residual blocks of one architecture share."""

    embedding: int  # channels of the noise embedding
    eps: float  # of the group norms
    modulated: bool  # the embedding scales and shifts after the second norm; else it is added before it
    skip_scale: float = 1.0  # of every residual sum
    head_channels: int | None = None  # of an attention head; None: one head
    resample: tuple[int, ...] = BOX  # the separable filter of halving and doubling
    project: bool = False  # a halving or doubling shortcut has a 1x1 convolution in any case


class WaveEmbedding(nn.Module):
    """Noise levels [B] -> [B, channels]: sines and cosines of geometric frequencies 1 .. 1/10000.

    ``song``: 1/10000 itself is the last frequency and sines come first. Otherwise it would be the next
    frequency, and cosines come first.
    """

    def __init__(self, channels: int, *, song: bool) -> None:
        super().__init__()
        self.count = channels // 2
        self.song = song

    def forward(self, noise: Tensor) -> Tensor:
        """The embedding, in the dtype of ``noise``."""
        steps = torch.arange(self.count, dtype=torch.float32, device=noise.device)
        frequencies = torch.pow(1e-4, steps / (self.count - 1 if self.song else self.count))
        angles = noise[:, None] * frequencies.to(noise.dtype)
        waves = angles.sin(), angles.cos()
        return torch.cat(waves if self.song else waves[::-1], dim=1)


class FourierEmbedding(nn.Module):
    """Noise levels [B] -> [B, channels]: sines, then cosines, of random frequencies kept with the weights."""

    freqs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 16 * torch.randn(channels // 2))

    def forward(self, noise: Tensor) -> Tensor:
        """The embedding, in the dtype of ``noise``."""
        angles = noise[:, None] * (2 * math.pi * self.freqs).to(noise.dtype)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def filter_of(taps: Sequence[int]) -> Tensor:
    """The two-dimensional filter [1, 1, n, n] of a separable one; its sum is 1."""
    line = torch.tensor(taps, dtype=torch.float32)
    line = line / line.sum()
    return torch.outer(line, line)[None, None]


class Resample(nn.Module):
    """Halve or double the resolution with a separable filter, outside which the image is zero.

    Averaging and repeating, the filter ``BOX``, are what they are; other filters are convolutions.
    """

    resample_filter: Tensor

    def __init__(self, direction: Direction, taps: Sequence[int]) -> None:
        super().__init__()
        self.direction = direction
        self.taps = tuple(taps)
        self.box = self.taps == BOX
        self.register_buffer("resample_filter", filter_of(taps))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [B, C, h, w] -> [B, C, h / 2, w / 2] or [B, C, 2 h, 2 w]."""
        if self.direction == "up":
            return functional.interpolate(x, scale_factor=2) if self.box else self._spread(x)
        return functional.avg_pool2d(x, 2) if self.box else self.gather(x, (len(self.line) - 2) // 2)

    @property
    def line(self) -> Tensor:
        """The last axis of the filter; as long as the filter is wide."""
        return self.resample_filter[0, 0, 0]

    def gather(self, x: Tensor, padding: int) -> Tensor:
        """Every second output of the filter on ``x``, ``padding`` zeros around it."""
        kernel = self.resample_filter.to(x.dtype).expand(x.shape[1], -1, -1, -1)
        return functional.conv2d(x, kernel, stride=2, padding=padding, groups=x.shape[1])

    def _spread(self, x: Tensor) -> Tensor:
        kernel = (4 * self.resample_filter).to(x.dtype).expand(x.shape[1], -1, -1, -1)
        padding = (len(self.line) - 2) // 2
        return functional.conv_transpose2d(x, kernel, stride=2, padding=padding, groups=x.shape[1])


class ResampledConv(Resample):
    """A convolution behind halving or doubling; with ``conv_first`` before halving, at full resolution."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        *,
        direction: Direction,
        taps: Sequence[int],
        conv_first: bool = False,
    ) -> None:
        """``channels``: before and after."""
        super().__init__(direction, taps)
        before, after = channels
        self.conv_first = conv_first
        self.weight = nn.Parameter(torch.empty(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """As ``Resample``, with the channels of the convolution."""
        weight, bias, side = self.weight, self.bias, self.weight.shape[-1] // 2
        if self.conv_first:  # all zeros lie around the image, none between the two filters
            wide = functional.conv2d(x, weight, padding=side + (len(self.line) - 2) // 2)
            return self.gather(wide, 0) + bias[:, None, None]
        if side == 0 and self.direction == "up" and self.box:  # the order does not matter: the cheap one
            return super().forward(functional.conv2d(x, weight, bias))
        return functional.conv2d(super().forward(x), weight, bias, padding=side)


def norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group normalisation with at most 32 groups of at least 4 channels."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=eps)


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor that nothing else uses: in place, unless a gradient needs what it was."""
    return functional.silu(x, inplace=not x.requires_grad)


class UNetBlock(nn.Module):
    """A residual block that knows the noise level: two convolutions, a shortcut, perhaps self-attention."""

    def __init__(
        self,
        before: int,
        after: int,
        *,
        style: BlockStyle,
        resample: Direction | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.style = style
        self.norm0 = norm(before, style.eps)
        self.conv0 = _conv(before, after, 3, resample, style)
        self.affine = nn.Linear(style.embedding, 2 * after if style.modulated else after)
        self.norm1 = norm(after, style.eps)
        self.conv1 = nn.Conv2d(after, after, 3, padding=1)
        self.skip: nn.Module | None = None
        if before != after or (resample and style.project):
            self.skip = _conv(before, after, 1, resample, style)
        elif resample:
            self.skip = Resample(resample, style.resample)
        self.heads = 0
        if attention:
            self.heads = after // style.head_channels if style.head_channels else 1
            self.norm2 = norm(after, style.eps)
            self.qkv = nn.Conv2d(after, 3 * after, 1)
            self.proj = nn.Conv2d(after, after, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``x`` [B, before, h, w], ``embedding`` [B or 1, embedding] -> [B, after, h', w'].

        Outputs of convolutions are changed in place: nothing else, no gradient either, needs them.
        """
        style = self.style
        hidden = self.conv0(silu(self.norm0(x)))
        modulation = self.affine(embedding)[:, :, None, None]
        if style.modulated:
            scale, shift = modulation.chunk(2, dim=1)
            hidden = torch.addcmul(shift, self.norm1(hidden), 1 + scale)
        else:
            hidden = self.norm1(hidden.add_(modulation))
        hidden = self.conv1(silu(hidden))
        hidden = hidden.add_(x if self.skip is None else self.skip(x))
        if style.skip_scale != 1:
            hidden = hidden.mul_(style.skip_scale)
        return self._attend(hidden) if self.heads else hidden

    def _attend(self, x: Tensor) -> Tensor:
        """The residual sum of ``x`` and its self-attention over positions."""
        qkv = self.qkv(self.norm2(x)).reshape(len(x), self.heads, -1, 3, x.shape[2] * x.shape[3])
        parts = qkv.permute(3, 0, 1, 4, 2).contiguous().unbind(0)  # each [B, heads, positions, channels]
        mixed = functional.scaled_dot_product_attention(*parts).transpose(2, 3)
        return self.proj(mixed.reshape(x.shape)).add_(x).mul_(self.style.skip_scale)


def _conv(before: int, after: int, kernel: int, resample: Direction | None, style: BlockStyle) -> nn.Module:
    if resample is None:
        return nn.Conv2d(before, after, kernel, padding=kernel // 2)
    return ResampledConv((before, after), kernel, direction=resample, taps=style.resample)
