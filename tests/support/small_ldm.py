"""Small networks of latent diffusion and Stable Diffusion, by their published names."""

from __future__ import annotations

import numpy as np
import torch
from golden_edm_nets import named_weights
from golden_openai import read_shapes
from torch import Tensor

from adasde.models.core.libraries import transformers
from adasde.models.core.registry import Converted, Opened, converted

WORDS = ("a</w>", "cat</w>", "a", "c", "t</w>", "ca", "<|startoftext|>", "<|endoftext|>")
PUBLISHED_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
PUBLISHED_TEXT |= {"num_attention_heads": 12, "max_position_embeddings": 77, "vocab_size": 49408}


def published(part: str, golden: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Weights without storage, by the names and shapes in upstream's state dict."""
    shapes = read_shapes(golden[part])
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def text_weights(config: dict[str, int], *, device: str) -> dict[str, Tensor]:
    """CLIP's text encoder by its published names; one buffer is no longer in the library."""
    library = transformers()
    torch.manual_seed(3)
    with torch.device(device):
        model = library.CLIPTextModel(library.CLIPTextConfig(**config))
    inner = getattr(model, "text_model", model)
    places = torch.arange(config["max_position_embeddings"], device=device)[None]
    return dict(inner.state_dict()) | {"embeddings.position_ids": places}


def single_file(
    unet: dict[str, Tensor], first_stage: dict[str, Tensor], text: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The names of one file that holds all parts."""
    named = {"model.diffusion_model.": unet, "first_stage_model.": first_stage}
    named["cond_stage_model.transformer.text_model."] = text
    tensors = {prefix + name: value for prefix, part in named.items() for name, value in part.items()}
    return tensors | {"betas": torch.zeros(3), "alphas_cumprod": torch.zeros(3)}


def small(golden: dict[str, np.ndarray]) -> Converted:
    """Stable Diffusion of a few thousand weights."""
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1}
    text = text_weights(config | {"max_position_embeddings": 8, "vocab_size": len(WORDS)}, device="cpu")
    unet, first_stage = (named_weights(published(f"{part}/small", golden)) for part in ("sd", "kl"))
    tensors = single_file(unet, first_stage, text)
    return converted("stable-diffusion", Opened(tensors, {"card": {"shape": [4, 8, 8]}}))
