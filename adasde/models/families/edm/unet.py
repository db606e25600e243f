"""The encoder and the decoder that EDM's U-Nets share, under the names of the published files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adasde.models.families.edm.layers import BlockStyle, UNetBlock


@dataclass(frozen=True)
class UNetPlan:
    """Widths, depth and attention of a U-Net."""

    resolution: int  # of the image, a square
    first: int  # channels behind the first convolution
    widths: Sequence[int]  # channels per resolution, from the full one down
    blocks: int  # per resolution
    attention: Collection[int]  # the resolutions with attention
    style: BlockStyle

    def side(self, level: int) -> str:
        """The name of a resolution, for instance 32x32; every level halves it."""
        side = self.resolution >> level
        return f"{side}x{side}"

    def attends(self, level: int) -> bool:
        """Whether the blocks of this resolution have attention."""
        return self.resolution >> level in self.attention


def encoder(channels: int, plan: UNetPlan) -> tuple[nn.ModuleDict, list[int]]:
    """The layers from ``channels`` at full resolution down, and how many channels each one hands across."""
    layers = nn.ModuleDict()
    skips = [plan.first]
    layers[f"{plan.side(0)}_conv"] = nn.Conv2d(channels, plan.first, 3, padding=1)
    for level, width in enumerate(plan.widths):
        if level:
            down = UNetBlock(skips[-1], skips[-1], style=plan.style, resample="down")
            layers[f"{plan.side(level)}_down"] = down
            skips.append(skips[-1])
        for index in range(plan.blocks):
            block = UNetBlock(skips[-1], width, style=plan.style, attention=plan.attends(level))
            layers[f"{plan.side(level)}_block{index}"] = block
            skips.append(width)
    return layers, skips


def decoder(skips: Sequence[int], plan: UNetPlan, *, attend_once: bool) -> nn.ModuleDict:
    """The layers from the lowest resolution up; every ``..._block`` joins one of the encoder's outputs.

    ``attend_once``: the last block of a resolution has attention, not all of them.
    """
    layers = nn.ModuleDict()
    waiting, current = list(skips), skips[-1]
    for level in reversed(range(len(plan.widths))):
        name = plan.side(level)
        if level == len(plan.widths) - 1:
            layers[f"{name}_in0"] = UNetBlock(current, current, style=plan.style, attention=True)
            layers[f"{name}_in1"] = UNetBlock(current, current, style=plan.style)
        else:
            layers[f"{name}_up"] = UNetBlock(current, current, style=plan.style, resample="up")
        for index in range(plan.blocks + 1):
            attends = plan.attends(level) and (index == plan.blocks or not attend_once)
            joined, current = current + waiting.pop(), plan.widths[level]
            layers[f"{name}_block{index}"] = UNetBlock(joined, current, style=plan.style, attention=attends)
    return layers


def decode(layers: nn.ModuleDict, x: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
    """Run the blocks of a decoder on the lowest ``x``; ``skips`` are the encoder's outputs, used up."""
    for name, layer in layers.items():
        if isinstance(layer, UNetBlock):
            x = layer(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, embedding)
    return x


def one_hot(labels: Tensor | None, classes: int, *, like: Tensor) -> Tensor:
    """Labels [B] -> [B, classes], in the dtype and on the device of ``like``.

    The label ``classes`` is that of no class: zeros. No labels: [1, classes] zeros.
    """
    if labels is None:
        return torch.zeros(1, classes, dtype=like.dtype, device=like.device)
    return nn.functional.one_hot(labels, classes + 1)[:, :classes].to(like)
