"""Evaluation networks beside the feature extractor: DINOv2 for FD-DINOv2, CLIP for the CLIP score."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adasde.models.core.libraries import transformers
from adasde.models.core.registry import Converted
from adasde.models.safe_pickle import Opened

DINO, CLIP = "dinov2", "clip"
SIDE = 224  # pixels that the networks see
HEAD = 64  # channels of an attention head
PART = 32  # images at once
OFFSET = 0.1  # that DINOv2's authors add to the number of patches when they resample positions
Colours = tuple[float, float, float]
IMAGENET: tuple[Colours, Colours] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI: tuple[Colours, Colours] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and standard deviation of the colours that a network expects."""

BLOCK = {
    "norm1": "norm1",
    "attn.proj": "attention.o_proj",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "ls2.gamma": "layer_scale2.lambda1",
}
ENDS = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
"""DINOv2's published module or parameter -> its name in transformers."""


class DinoV2(nn.Module):
    """Images [B, 3 or 1, H, W] in [-1, 1] -> the normed class token [B, F] (Oquab et al., 2304.07193).

    Images are resized to 224 x 224 pixels, bicubic with antialiasing, as EDM2 does for FD-DINOv2.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__()
        library = transformers()
        self.network: Any = library.Dinov2Model(library.Dinov2Config(**about["network"]))

    def features(self, images: Tensor) -> Tensor:
        """Features [B, F] float32."""
        return torch.cat([self._features(part) for part in images.split(PART)])

    def _features(self, images: Tensor) -> Tensor:
        return self.network(pixel_values=shown(resized(images, (SIDE, SIDE)), IMAGENET)).pooler_output


class Clip(nn.Module):
    """Images, and the tokens of prompts, in one space (Radford et al., 2103.00020).

    As its authors prepare them: the shorter side resized to 224 pixels, rounded, the middle cut out.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__()
        library = transformers()
        config = library.CLIPConfig(
            text_config=about["text"], vision_config=about["vision"], projection_dim=about["projection"]
        )
        self.network: Any = library.CLIPModel(config)
        self.length = int(about["text"]["max_position_embeddings"])

    def features(self, images: Tensor) -> Tensor:
        """Directions [B, F] of images [B, 3 or 1, H, W] in [-1, 1]: of length 1."""
        return torch.cat([self._features(part) for part in images.split(PART)])

    def _features(self, images: Tensor) -> Tensor:
        pooled = self.network.vision_model(pixel_values=shown(middle(images), OPENAI)).pooler_output
        return nn.functional.normalize(self.network.visual_projection(pooled), dim=-1)

    def text_features(self, tokens: Tensor) -> Tensor:
        """Directions [n, F] of prompts, as tokens [n, L]."""
        pooled = self.network.text_model(input_ids=tokens).pooler_output
        return nn.functional.normalize(self.network.text_projection(pooled), dim=-1)


def resized(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """Images in [-1, 1] -> values 0 to 255 [B, 3, *sides], float32."""
    values = (images.float().expand(-1, 3, -1, -1) + 1) * 127.5
    if values.shape[-2:] == sides:
        return values
    return nn.functional.interpolate(values, size=sides, mode="bicubic", antialias=True)


def middle(images: Tensor) -> Tensor:
    """Images in [-1, 1] -> integers 0 to 255 [B, 3, 224, 224]: the largest square in the middle."""
    shorter = min(images.shape[-2:])
    height, width = (size * SIDE // shorter for size in images.shape[-2:])
    values = resized(images, (height, width)).round().clamp(0, 255)
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    return values[..., top : top + SIDE, left : left + SIDE]


def shown(values: Tensor, colours: tuple[Colours, Colours]) -> Tensor:
    """Values 0 to 255, normalised as a network expects them."""
    mean, deviation = (values.new_tensor(one)[:, None, None] for one in colours)
    return (values / 255 - mean) / deviation


def convert_dino(opened: Opened) -> Converted:
    """DINOv2's own files; positions are resampled once for images of 224 pixels, the way its authors do.

    Raises:
        KeyError: it holds what has no place here.
    """
    tensors = opened.tensors
    width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    network = {
        "hidden_size": width,
        "num_hidden_layers": _layers(tensors, r"blocks\.(\d+)\.norm1\.weight"),
        "num_attention_heads": max(width // HEAD, 1),
        "mlp_ratio": len(tensors["blocks.0.mlp.fc1.bias"]) // width,
        "patch_size": patch,
        "image_size": SIDE,
        "layer_norm_eps": 1e-6,
    }
    made = {f"network.{ours}": value for name in tensors for ours, value in _dino(name, tensors[name])}
    positions = tensors["pos_embed"]
    made["network.embeddings.position_embeddings"] = resampled(positions, SIDE // patch)
    return Converted(DINO, {"network": network}, made)


def resampled(positions: Tensor, count: int) -> Tensor:
    """Embeddings of positions [1, 1 + n^2, F] for ``count`` patches a side, the first kept as it is."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if side == count:
        return positions
    grid = positions[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = (count + OFFSET) / side
    fine = nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], fine.flatten(2).transpose(1, 2)], 1)


def _dino(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A published weight under our names; the joint projection of attention becomes three."""
    if name == "pos_embed":
        return
    if name in ENDS:
        yield ENDS[name], tensor
        return
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    prefix, inner = (f"encoder.layer.{block[1]}.", block[2]) if block else ("", name)
    module, _, last = inner.rpartition(".")
    if module == "attn.qkv":
        for part, value in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{prefix}attention.{part}_proj.{last}", value
    elif inner in BLOCK and block:
        yield prefix + BLOCK[inner], tensor
    else:
        yield f"{prefix}{(BLOCK if block else ENDS)[module]}.{last}", tensor


def convert_clip(opened: Opened) -> Converted:
    """CLIP as transformers publishes it: its names are ours, its settings are read off the shapes.

    Raises:
        KeyError: a tensor is missing.
    """
    kept = {name: value for name, value in opened.tensors.items() if not name.endswith("position_ids")}
    words, width = kept["text_model.embeddings.token_embedding.weight"].shape
    text = _tower(kept, "text_model", width) | {
        "vocab_size": words,
        "max_position_embeddings": len(kept["text_model.embeddings.position_embedding.weight"]),
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
    }
    width, _, patch, _ = kept["vision_model.embeddings.patch_embedding.weight"].shape
    places = len(kept["vision_model.embeddings.position_embedding.weight"]) - 1
    if places != (SIDE // patch) ** 2:
        raise ValueError(f"it does not see {SIDE} x {SIDE} pixels, which alone is supported")
    vision = _tower(kept, "vision_model", width) | {"patch_size": patch, "image_size": SIDE}
    about = {"text": text, "vision": vision, "projection": len(kept["text_projection.weight"])}
    return Converted(CLIP, about, {f"network.{name}": value for name, value in kept.items()})


def _tower(tensors: Mapping[str, Tensor], name: str, width: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": len(tensors[f"{name}.encoder.layers.0.mlp.fc1.bias"]),
        "num_hidden_layers": _layers(tensors, rf"{name}\.encoder\.layers\.(\d+)\.layer_norm1\.weight"),
        "num_attention_heads": max(width // HEAD, 1),
        "hidden_act": "quick_gelu",
    }


def _layers(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)
