"""Layout of a published U-Net, inferred from the names and shapes of its weights, and its names here.

Dhariwal and Nichol (2105.05233); latent diffusion has the same layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
"""Published module -> its name in diffusers, within a block of each kind and at both ends."""


@dataclass(frozen=True)
class Layout:
    """A U-Net: ``widths`` [levels] from the full resolution down, ``blocks`` a level, where ``attention`` is.

    ``residual``: resolutions change in residual blocks, not in a convolution; ``modulated``: the time scales
    and shifts, it is not added.
    """

    widths: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]
    residual: bool
    modulated: bool
    classes: int
    channels: int
    outputs: int
    text: bool = False  # cross-attention to the embedding of a prompt

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], *, blocks: int | None = None) -> Layout:
        """From the published weights; ``blocks`` where there is no decoder to infer it from.

        Raises:
            KeyError, ValueError: they are no such network's.
        """
        inputs = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("input_blocks."))
        decoder = {name.rsplit(".", 1)[0] for name in tensors if name.startswith("output_blocks.")}
        ups = [name for name in decoder if _changes_resolution(name)]
        levels = len(ups) + 1 if decoder else inputs // ((blocks or 0) + 1)
        if inputs % levels:
            raise ValueError(f"{inputs} input blocks do not make {levels} equal levels")
        count = inputs // levels
        first = [1 + level * count for level in range(levels)]
        widths = tuple(tensors[f"input_blocks.{i}.0.out_layers.3.weight"].shape[0] for i in first)
        if tensors["time_embed.0.weight"].shape[1] != widths[0]:
            raise ValueError("the first level is not as wide as the embedding of the time")
        return cls(
            widths,
            count - 1,
            tuple(f"input_blocks.{i}.1.norm.weight" in tensors for i in first),
            f"input_blocks.{count}.0.op.weight" not in tensors,
            tensors["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0],
            len(tensors["label_emb.weight"]) if "label_emb.weight" in tensors else 0,
            tensors["input_blocks.0.0.weight"].shape[1],
            len(tensors["out.2.weight"]) if decoder else 0,
            any(".transformer_blocks." in name for name in tensors),
        )

    def config(self, *, side: int, head: int) -> dict[str, Any]:
        """The settings of a ``UNet2DModel``: ``side`` of the images, ``head`` channels an attention head."""
        kind = "resnet" if self.residual else "conv"
        return self._sizes(side, "Attn", "Resnet{}sampleBlock2D" if self.residual else "{}Block2D") | {
            "downsample_type": kind,
            "upsample_type": kind,
            "attention_head_dim": head,
            "attn_norm_num_groups": 32,
            "resnet_time_scale_shift": "scale_shift" if self.modulated else "default",
            "num_class_embeds": self.classes or None,
        }

    def text_config(self, tensors: Mapping[str, Tensor], *, heads: int, side: int) -> dict[str, Any]:
        """The settings of a ``UNet2DConditionModel``: ``heads`` of attention at every width."""
        width = tensors["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
        # attention_head_dim is the library's name for the number of heads
        return self._sizes(side, "CrossAttn", "{}Block2D") | {
            "attention_head_dim": heads,
            "cross_attention_dim": width,
        }

    def _sizes(self, side: int, attention: str, plain: str) -> dict[str, Any]:
        """Settings that both have; classes of levels with ``attention`` and of ``plain`` ones."""
        down, up = (
            [f"{attention}{way}Block2D" if attends else plain.format(way) for attends in levels]
            for way, levels in (("Down", self.attention), ("Up", self.attention[::-1]))
        )
        return {
            "sample_size": side,
            "in_channels": self.channels,
            "out_channels": self.outputs or self.channels,
            "block_out_channels": list(self.widths),
            "layers_per_block": self.blocks,
            "down_block_types": down,
            "up_block_types": up,
        }

    def residuals(self) -> Iterator[tuple[str, str]]:
        """Published residual block -> ours."""
        levels, count = len(self.widths), self.blocks + 1
        for level in range(levels):
            for block in range(self.blocks):
                yield f"input_blocks.{1 + level * count + block}.0", f"down_blocks.{level}.resnets.{block}"
            if level < levels - 1 and self.residual:
                yield f"input_blocks.{(level + 1) * count}.0", f"down_blocks.{level}.downsamplers.0"
            for block in range(count):
                yield f"output_blocks.{level * count + block}.0", f"up_blocks.{level}.resnets.{block}"
            if level < levels - 1 and self.residual:
                yield self._up(level), f"up_blocks.{level}.upsamplers.0"
        for index, block in ((0, 0), (2, 1)):
            yield f"middle_block.{index}", f"mid_block.resnets.{block}"

    def convolutions(self) -> Iterator[tuple[str, str]]:
        """Published convolution that changes the resolution -> ours."""
        for level in range(len(self.widths) - 1):
            index = (level + 1) * (self.blocks + 1)
            yield f"input_blocks.{index}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
            yield f"{self._up(level)}.conv", f"up_blocks.{level}.upsamplers.0.conv"

    def attentions(self) -> Iterator[tuple[str, str]]:
        """Published attention -> ours."""
        count = self.blocks + 1
        for level, attends in enumerate(self.attention):
            for block in range(self.blocks if attends else 0):
                yield f"input_blocks.{1 + level * count + block}.1", f"down_blocks.{level}.attentions.{block}"
        for level, attends in enumerate(reversed(self.attention)):
            for block in range(count if attends else 0):
                yield f"output_blocks.{level * count + block}.1", f"up_blocks.{level}.attentions.{block}"
        yield "middle_block.1", "mid_block.attentions.0"

    def names(self) -> dict[str, str]:
        """Published module -> ours, but for the joint projection of attention (``renamed``)."""
        blocks = {**dict(self.convolutions()), **ENDS}
        inside = [(self.residuals(), RESIDUAL)]
        if not self.text:  # else the names within are the same
            inside.append((self.attentions(), ATTENTION))
        for pairs, inner in inside:
            for theirs, ours in pairs:
                blocks |= {f"{theirs}.{name}": f"{ours}.{value}" for name, value in inner.items()}
        return blocks

    def _up(self, level: int) -> str:
        """The published block behind the last of a level of the decoder, counted from the lowest."""
        attends = self.attention[-1 - level]
        return f"output_blocks.{(level + 1) * (self.blocks + 1) - 1}.{2 if attends else 1}"


def _changes_resolution(module: str) -> bool:
    """Whether a decoder's module, ``output_blocks.7.1.conv`` for instance, is what doubles the resolution."""
    return module.endswith((".1.conv", ".2.conv", ".1.in_layers.2", ".2.in_layers.2"))


def renamed(tensors: Mapping[str, Tensor], layout: Layout, *, head: int, legacy: bool) -> dict[str, Tensor]:
    """The published weights under our names; ``legacy``: q, k and v lie side by side within every head.

    Raises:
        KeyError: a weight whose place is not known.
    """
    names, attentions = layout.names(), dict(layout.attentions())
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        if module in names:
            matrix = module.endswith(".proj_out") and tensor.ndim > 1  # kept as a convolution over one point
            result[f"{names[module]}.{last}"] = tensor.flatten(1) if matrix else tensor
        elif module.endswith(".qkv") and module[:-4] in attentions:
            ours = attentions[module[:-4]]
            for part, value in zip("qkv", _projections(tensor, head=head, legacy=legacy), strict=True):
                result[f"{ours}.to_{part}.{last}"] = value
        elif layout.text and (place := _place(module, attentions)):
            result[attentions[place] + name.removeprefix(place)] = tensor
        else:
            raise KeyError(name)
    return result


def _place(module: str, attentions: Mapping[str, str]) -> str | None:
    """The attention that a module lies in."""
    parts = module.split(".")
    return next((place for size in (2, 3) if (place := ".".join(parts[:size])) in attentions), None)


def _projections(tensor: Tensor, *, head: int, legacy: bool) -> list[Tensor]:
    """The parts of a joint projection, [3 C, C, 1 (, 1)] or [3 C]: each [C, C] or [C]."""
    matrix = tensor.flatten(1) if tensor.ndim > 1 else tensor
    if not legacy:
        return list(matrix.chunk(3))
    heads = len(matrix) // (3 * head)
    return [part.flatten(0, 1) for part in matrix.unflatten(0, (heads, 3, head)).unbind(1)]
