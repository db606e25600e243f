"""Small networks of OpenAI's families, from the names and shapes of the published weights."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from golden_edm_nets import named_weights
from golden_openai import read_shapes
from torch import Tensor, nn

from adasde.models.core.registry import FAMILIES, Converted, Opened, converted

CASES = {
    "adm": ("openai-unet", 256, 1000),
    "classifier": ("openai-classifier", 256, 1000),
    "cm": ("openai-unet-edm", 256, 0),
    "ldm": ("ldm-unet", 64, 0),
}
"""Case -> family, side of the published images, classes."""


def as_published(case: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the file: latent diffusion keeps the U-Net within a training checkpoint."""
    if case != "ldm":
        return tensors
    return {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()} | {
        "first_stage_model.decoder.conv_in.weight": torch.zeros(1)
    }


def opened(case: str, tensors: dict[str, Tensor], *, side: int, **about: Any) -> Opened:
    card = {"shape": [3, side, side], "about": about}
    return Opened(as_published(case, tensors), {"format": "torch", "card": card})


def small(case: str, golden: dict[str, np.ndarray]) -> Converted:
    empty = {
        name: torch.empty(shape, device="meta")
        for name, shape in read_shapes(golden[f"{case}/small"]).items()
    }
    weights = named_weights(empty)
    return converted(CASES[case][0], opened(case, weights, side=16, head=16))


def network(made: Converted) -> nn.Module:
    about = json.loads(json.dumps(made.about))  # as in a card
    result = FAMILIES[made.family](None, about)  # type: ignore[arg-type]
    result.load_state_dict(made.tensors)
    return result.eval().requires_grad_(False)


def off(ours: Tensor, upstream: np.ndarray) -> float:
    """The largest difference over the largest value."""
    expected = torch.from_numpy(upstream)
    assert ours.shape == expected.shape and ours.dtype == torch.float32
    return ((ours - expected).abs().max() / expected.abs().max()).item()
