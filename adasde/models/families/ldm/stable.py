"""Stable Diffusion 1 in one file: U-Net, decoder and text encoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.models.core.libraries import diffusers, short, transformers
from adasde.models.core.parameterization import Predicted, Process
from adasde.models.core.registry import Converted, Opened
from adasde.models.core.tokens import Tokens
from adasde.models.families.adm.family import averaged
from adasde.models.families.adm.layout import Layout, renamed
from adasde.models.families.ldm.autoencoder import Decoder, decoder_of

STABLE = "stable-diffusion"
TRAINED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCALE = 0.18215  # of the latents
HEADS = 8  # of attention, at every width
TEXT = "cond_stage_model.transformer.text_model."
TOKENIZER = "tokenizer"  # folder with vocab.json and merges.txt
PUBLISHED = "openai/clip-vit-large-patch14"  # whose tokenizer it is, at the Hugging Face hub


class StableDiffusion(nn.Module):
    """``D(x, sigma, embedding)``; without an embedding [B, L, F] that of the empty prompt.

    ``decode`` makes images of latents, ``embed`` [1, L, F] of tokens [1, L].
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        from adasde.models.families.diffusers.networks import TextUNetAdapter

        super().__init__()
        unet = diffusers().UNet2DConditionModel(**about["network"])
        self.denoise = Predicted(TextUNetAdapter(unet), Process.of(about["process"]))
        self.decode = Decoder(about["autoencoder"])
        library = transformers()
        text = library.CLIPTextModel(library.CLIPTextConfig(**about["text"]))
        self.text: Any = getattr(text, "text_model", text)  # its name in older versions
        self.begin, self.end = text.config.bos_token_id, text.config.eos_token_id
        self.length = text.config.max_position_embeddings

    def forward(self, x: Tensor, sigma: Tensor, embedding: Tensor | None = None) -> Tensor:
        """The clean estimate."""
        if embedding is None:
            nothing = torch.full((1, self.length), self.end, device=x.device)
            nothing[0, 0] = self.begin
            embedding = self.embed(nothing).expand(len(x), -1, -1)
        return self.denoise(x, sigma, embedding)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embedding of a prompt's tokens."""
        dtype = self.text.encoder.layers[0].mlp.fc1.weight.dtype  # shorter than the sums, see Runtime
        short = nullcontext() if dtype == torch.float32 else torch.autocast(tokens.device.type, dtype)
        with short:
            return self.text(input_ids=tokens).last_hidden_state


class Encoder:
    """A prompt -> its embedding ([1, L, F],), by the checkpoint's tokenizer or that of ``tokenizer_of``."""

    def __init__(self, network: StableDiffusion, folder: Path, *, tokenizer: Path | None = None) -> None:
        """``tokenizer``: the file of a checkpoint that has one."""
        self.network = network
        self.folder = folder
        self.tokenizer = tokenizer
        self.tokens: Callable[[Sequence[str]], Tensor] | None = None

    @torch.no_grad()
    def __call__(self, prompt: str) -> tuple[Tensor]:
        """Raises CheckpointError: there is no tokenizer."""
        self.tokens = self.tokens or self._tokens()
        place = next(self.network.text.parameters()).device
        return (self.network.embed(self.tokens([prompt]).to(place)).float(),)

    def _tokens(self) -> Callable[[Sequence[str]], Tensor]:
        length = self.network.length
        if self.tokenizer is not None:
            return Tokens(self.tokenizer, length=length)
        found = tokenizer_of(self.folder)

        def tokens(prompts: Sequence[str]) -> Tensor:
            encoded = found(
                list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
            return encoded.input_ids

        return tokens


def tokenizer_of(folder: Path) -> Any:
    """CLIP's tokenizer: the folder ``tokenizer`` of a checkpoint, or the published one from the hub.

    Raises:
        CheckpointError: neither is there.
    """
    own = folder / TOKENIZER
    source: str | os.PathLike[str] = own if own.is_dir() else PUBLISHED
    try:
        return transformers().CLIPTokenizer.from_pretrained(source)
    except Exception as error:  # the hub has dozens of them
        raise CheckpointError(
            f"the prompts of {folder.name!r} need CLIP's tokenizer, which cannot be loaded from {source} "
            f"({short(error)}). Put vocab.json and merges.txt of {PUBLISHED} into {own}."
        ) from error


def convert(opened: Opened) -> Converted:
    """``v1-5-pruned-emaonly`` and its like, .ckpt or .safetensors."""
    unet = averaged(opened.tensors)
    layout = Layout.of(unet)
    depth = {
        name.split(".transformer_blocks.")[1].split(".")[0] for name in unet if "transformer_blocks" in name
    }
    if depth != {"0"}:
        raise ValueError("this is no Stable Diffusion 1: its attention is not one block deep")
    autoencoder, decoder = decoder_of(
        {name: value for name, value in opened.tensors.items() if name.startswith("first_stage_model.")},
        scale=SCALE,
    )
    text = {
        name.removeprefix(TEXT): value
        for name, value in opened.tensors.items()
        if name.startswith(TEXT) and not name.endswith("position_ids")
    }
    tensors = {
        f"denoise.network.network.{name}": value
        for name, value in renamed(unet, layout, head=0, legacy=False).items()
    }
    tensors |= {f"decode.{name}": value for name, value in decoder.items()}
    tensors |= {f"text.{name}": value for name, value in text.items()}
    about = {
        "network": layout.text_config(unet, heads=HEADS, side=int(opened.about["card"]["shape"][-1])),
        "process": TRAINED,
        "autoencoder": autoencoder,
        "text": _text_config(text),
        "prompted": True,
    }
    return Converted(STABLE, about, tensors)


def _text_config(text: Mapping[str, Tensor]) -> dict[str, Any]:
    """CLIP's settings, read off its weights; 64 channels an attention head."""
    words, width = text["embeddings.token_embedding.weight"].shape
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": len(text["encoder.layers.0.mlp.fc1.bias"]),
        "num_hidden_layers": 1 + max(int(name.split(".")[2]) for name in text if ".layers." in name),
        "num_attention_heads": max(width // 64, 1),
        "max_position_embeddings": len(text["embeddings.position_embedding.weight"]),
        "hidden_act": "quick_gelu",
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
    }
