"""The decoders of latent diffusion (Rombach et al., 2112.10752): VQ and KL, as networks of diffusers.

Only what leads from latents to images is kept; nothing here encodes images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from adasde.models.core.libraries import diffusers
from adasde.models.core.registry import Converted, Opened

VQ = "ldm-vq"
WITHIN = "first_stage_model."  # in front of its names in a file that also holds the denoiser
KEPT = ("decoder.", "post_quant_conv.", "quantize.embedding.")
BLOCK = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"nin_shortcut": "conv_shortcut"}
MIDDLE = {
    "decoder.mid.attn_1.norm": "decoder.mid_block.attentions.0.group_norm",
    "decoder.mid.attn_1.q": "decoder.mid_block.attentions.0.to_q",
    "decoder.mid.attn_1.k": "decoder.mid_block.attentions.0.to_k",
    "decoder.mid.attn_1.v": "decoder.mid_block.attentions.0.to_v",
    "decoder.mid.attn_1.proj_out": "decoder.mid_block.attentions.0.to_out.0",
}
ENDS = {
    "post_quant_conv": "post_quant_conv",
    "quantize.embedding": "quantize.embedding",
    "decoder.conv_in": "decoder.conv_in",
    "decoder.norm_out": "decoder.conv_norm_out",
    "decoder.conv_out": "decoder.conv_out",
}
"""Published module -> its name in diffusers."""


class Decoder(nn.Module):
    """Latents [B, C, h, w], as the denoiser makes them -> images [B, 3, H, W] in [-1, 1]."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        """``about``: ``quantised``, and the ``network``'s settings."""
        super().__init__()
        kind = "VQModel" if about["quantised"] else "AutoencoderKL"
        self.network: Any = getattr(diffusers(), kind)(**about["network"])
        self.network.encoder = self.network.quant_conv = None

    def forward(self, latents: Tensor) -> Tensor:
        """Images, not clipped."""
        return self.network.decode(latents.float() / self.network.config.scaling_factor).sample


def convert(opened: Opened) -> Converted:
    """VQ-f4 and its like: latents are quantised, then decoded; they have the scale 1."""
    about, tensors = decoder_of(opened.tensors, scale=1.0)
    return Converted(VQ, about, tensors)


def decoder_of(published: Mapping[str, Tensor], *, scale: float) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of a ``Decoder``; ``scale``: the denoiser's latents over those decoded.

    Raises:
        KeyError, ValueError: these are no such autoencoder's.
    """
    inner = {name.removeprefix(WITHIN): value for name, value in published.items()}
    tensors = {name: value for name, value in inner.items() if name.startswith(KEPT)}
    levels = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("decoder.up."))
    blocks = 1 + max(int(name.split(".")[4]) for name in tensors if name.startswith("decoder.up.0.block."))
    names = _names(levels, blocks)
    renamed = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        flat = "attn_1" in module and tensor.ndim == 4  # a convolution over one point: a matrix
        renamed[f"network.{names[module]}.{last}"] = tensor.flatten(1) if flat else tensor
    quantised = "quantize.embedding.weight" in tensors
    widths = [len(tensors[f"decoder.up.{level}.block.0.conv1.weight"]) for level in range(levels)]
    config: dict[str, Any] = {
        "in_channels": len(tensors["decoder.conv_out.weight"]),
        "out_channels": len(tensors["decoder.conv_out.weight"]),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": widths,
        "layers_per_block": blocks - 1,
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "scaling_factor": scale,
    }
    if quantised:
        count, size = tensors["quantize.embedding.weight"].shape
        config |= {"num_vq_embeddings": count, "vq_embed_dim": size}
    return {"quantised": quantised, "network": config}, renamed


def _names(levels: int, blocks: int) -> dict[str, str]:
    """Published module -> ours; the published levels count from the full resolution, ours from the lowest."""
    pairs = [("decoder.mid.block_1", "decoder.mid_block.resnets.0")]
    pairs.append(("decoder.mid.block_2", "decoder.mid_block.resnets.1"))
    names = {**ENDS, **MIDDLE}
    for level in range(levels):
        ours = f"decoder.up_blocks.{levels - 1 - level}"
        pairs += [(f"decoder.up.{level}.block.{block}", f"{ours}.resnets.{block}") for block in range(blocks)]
        names[f"decoder.up.{level}.upsample.conv"] = f"{ours}.upsamplers.0.conv"
    for theirs, here in pairs:
        names |= {f"{theirs}.{name}": f"{here}.{value}" for name, value in BLOCK.items()}
    return names
