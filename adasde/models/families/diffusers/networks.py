"""Adapters of diffusers' denoising networks: ``F(z, time, *conditions)``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adasde.errors import CheckpointError


class Adapter(nn.Module):
    """A network as ``F(z, time, *conditions)``: states [B, C, h, w], times [B] or [1] -> its output.

    Attributes:
        channels: C of the states.
        classes: number of classes of a class-conditional network, which takes labels [B]; else 0.
        has_null: whether the label ``classes`` stands for no class.
        text: whether it takes the embeddings of prompts.
        guided: whether guidance is an input too, so that it costs nothing.
    """

    has_null = False
    text = False
    guided = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.channels = self._channels()
        self.classes = 0
        config: Any = network.config
        if getattr(config, "class_embed_type", None) is not None or getattr(
            config, "addition_embed_type", None
        ):
            raise CheckpointError(
                f"this {type(network).__name__} needs more than times, classes and one prompt (its "
                "class_embed_type or addition_embed_type is set), which is not supported."
            )

    def encoded(self, pipe: Any, prompt: str) -> tuple[Tensor, ...]:
        """The network's conditions for ``prompt``, each [1, ...], on the pipeline's device."""
        raise NotImplementedError

    def _channels(self) -> int:
        """Channels of the states; the network may give as many again, a variance."""
        config = self.network.config
        channels, out = config.in_channels, getattr(config, "out_channels", None) or config.in_channels
        if out not in (channels, 2 * channels):
            raise CheckpointError(
                f"this {type(self.network).__name__} takes {channels} channels and returns {out}: it needs "
                "another image (inpainting, super-resolution), which is not supported."
            )
        return channels


class UNetAdapter(Adapter):
    """``UNet2DModel``, of images or latents, with or without classes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.classes = self.network.config.num_class_embeds or 0
        if self.network.config.time_embedding_type == "learned":
            raise CheckpointError(
                "this UNet2DModel takes integer times only; fractional ones are needed here."
            )

    def forward(self, z: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """The raw output."""
        return self.network(z, time, class_labels=labels, return_dict=False)[0]


class DiTAdapter(Adapter):
    """``DiTTransformer2DModel``: takes a class or the null class."""

    has_null = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.classes = self.network.config.num_embeds_ada_norm

    def forward(self, z: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """The raw output."""
        if labels is None:
            labels = torch.full((len(z),), self.classes, device=z.device)
        return self.network(z, time.expand(len(z)), class_labels=labels, return_dict=False)[0]


class TextUNetAdapter(Adapter):
    """``UNet2DConditionModel``: takes the embedding of a prompt."""

    text = True

    def forward(self, z: Tensor, time: Tensor, embedding: Tensor) -> Tensor:
        """The raw output."""
        return self.network(z, time, encoder_hidden_states=embedding, return_dict=False)[0]

    def encoded(self, pipe: Any, prompt: str) -> tuple[Tensor, ...]:
        return (pipe.encode_prompt(prompt, pipe.device, 1, False)[0].float(),)


class SD3Adapter(Adapter):
    """``SD3Transformer2DModel``: takes the embedding of a prompt, by words and pooled."""

    text = True

    def forward(self, z: Tensor, time: Tensor, embedding: Tensor, pooled: Tensor) -> Tensor:
        """The raw output."""
        conditions = {"encoder_hidden_states": embedding, "pooled_projections": pooled}
        return self.network(z, timestep=time.expand(len(z)), return_dict=False, **conditions)[0]

    def encoded(self, pipe: Any, prompt: str) -> tuple[Tensor, ...]:
        embedding, _, pooled, _ = pipe.encode_prompt(
            prompt, prompt, prompt, device=pipe.device, do_classifier_free_guidance=False
        )
        return embedding.float(), pooled.float()


class FluxAdapter(Adapter):
    """``FluxTransformer2DModel``: works on a row of 2x2 patches; takes the prompt, perhaps the guidance."""

    text = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.guided = bool(self.network.config.guidance_embeds)

    def forward(
        self, z: Tensor, time: Tensor, embedding: Tensor, pooled: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        """The raw output."""
        height, width = z.shape[2] // 2, z.shape[3] // 2
        rows = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1)
        places = torch.nn.functional.pad(rows.reshape(-1, 2), (1, 0)).to(z)
        packed = nn.functional.pixel_unshuffle(z, 2).flatten(2).transpose(1, 2)
        output = self.network(
            packed,
            encoder_hidden_states=embedding,
            pooled_projections=pooled,
            timestep=time.expand(len(z)) / 1000,  # which the network multiplies again
            img_ids=places,
            txt_ids=places.new_zeros(embedding.shape[1], 3),
            guidance=guidance,
            return_dict=False,
        )[0]
        return nn.functional.pixel_shuffle(output.transpose(1, 2).unflatten(2, (height, width)), 2)

    def encoded(self, pipe: Any, prompt: str) -> tuple[Tensor, ...]:
        embedding, pooled, _ = pipe.encode_prompt(prompt, device=pipe.device)
        return embedding.float(), pooled.float()

    def _channels(self) -> int:
        return super()._channels() // 4


ADAPTERS: dict[str, type[Adapter]] = {
    "UNet2DModel": UNetAdapter,
    "UNet2DConditionModel": TextUNetAdapter,
    "DiTTransformer2DModel": DiTAdapter,
    "SD3Transformer2DModel": SD3Adapter,
    "FluxTransformer2DModel": FluxAdapter,
}
"""Class of a pipeline's ``unet`` or ``transformer`` -> how it is called."""
