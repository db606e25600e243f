"""Pipelines of ``diffusers`` as models: ``load_model("diffusers:FOLDER_OR_HUB_ID")``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import PROMPTS
from adasde.models.core.conditioning import by_class
from adasde.models.core.libraries import diffusers, short
from adasde.models.core.parameterization import Predicted, Process
from adasde.models.core.prompts import Prompted, Source, read_prompts
from adasde.models.families.diffusers.folder import checked_index, folder_of, weights_hash
from adasde.models.families.diffusers.networks import ADAPTERS, Adapter
from adasde.sampling.schedules import unknown
from adasde.types import Model

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # components that no D needs


def load_pipeline(source: str, *, device: str | torch.device = "cpu", prompts: Source = None) -> Model:
    """The frozen denoiser of a pipeline: a folder, or the id of one at the Hugging Face hub.

    Only safetensors weights and classes of ``diffusers`` and ``transformers`` are loaded. ``prompts`` is for
    text-to-image: a list, or a file with one prompt a line; by default ``prompts.txt`` in the folder.

    Raises:
        CheckpointError: no such pipeline, other weights, or a network or process that is not known here.
    """
    folder = folder_of(source)
    index = checked_index(folder)
    pipe, trained = _load(folder, index)
    network = pipe.components.get("unet") or pipe.components.get("transformer")
    kind = type(network).__name__
    if kind not in ADAPTERS:
        raise CheckpointError(f"{source}: the pipeline's {unknown('denoiser', kind, ADAPTERS)}")
    adapter = ADAPTERS[kind](network)
    process = Process.of(trained)
    denoise = Predicted(adapter, process).eval().requires_grad_(False).to(device)
    vae = pipe.components.get("vae") or pipe.components.get("vqvae")
    shape = _shape(source, adapter, pipe)
    facts: dict[str, Any] = {"denoise": denoise}
    if adapter.text:
        if (folder / PROMPTS).exists():
            prompts = prompts or folder / PROMPTS
        encode = _encoder(pipe.to(device), adapter)
        condition = Prompted(denoise, encode, read_prompts(prompts), name=source, guided=adapter.guided)
        facts = {"condition": condition, "denoise": condition.null, "prompts": condition.prompts}
    elif adapter.classes:
        facts = by_class(denoise, adapter.classes, name=source, has_null=adapter.has_null)
    return Model(
        **facts,
        name=source,
        shape=shape,
        sigma_min=process.lowest,
        sigma_max=process.highest,
        sha256=weights_hash(folder, index),
        decode=decoder(vae.eval().requires_grad_(False).to(device)) if vae else None,
        prediction_type=process.prediction,
        device=str(device),
    )


def decoder(vae: Any) -> Callable[[Tensor], Tensor]:
    """Latents [B, C, h, w] -> images [B, 3, H, W] in [-1, 1], by an autoencoder of ``diffusers``."""
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0

    def decode(latents: Tensor) -> Tensor:
        return vae.decode(latents.float() / scale + shift).sample

    return decode


def _load(folder: Path, index: dict[str, Any]) -> tuple[Any, Any]:
    """The pipeline, and the settings of the scheduler beside it, for some pipelines replace it by theirs."""
    library = diffusers()
    kind = getattr(library, index["_class_name"], None)
    if kind is None:
        raise CheckpointError(f"{folder}: diffusers has no pipeline {index['_class_name']!r}.")
    empty = [name for name, value in index.items() if value == [None, None]]
    skipped = {name: None for name in (*UNUSED, *empty) if name in index}
    try:
        scheduler = getattr(library, index["scheduler"][1])
        trained = scheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True).config
        return kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, **skipped), trained
    except (OSError, ValueError, TypeError, RuntimeError, ImportError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"the pipeline in {folder} cannot be loaded: {short(error)} Only safetensors weights are read; "
            "pipe.save_pretrained(FOLDER) writes them."
        ) from error


def _shape(source: str, adapter: Adapter, pipe: Any) -> tuple[int, int, int]:
    size = getattr(adapter.network.config, "sample_size", None) or getattr(pipe, "default_sample_size", None)
    if size is None:
        raise CheckpointError(
            f"{source}: the network's config.json does not say its sample_size. Write the side of its "
            "samples (latents: of these) there."
        )
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return adapter.channels, int(height), int(width)


def _encoder(pipe: Any, adapter: Adapter) -> Callable[[str], tuple[Tensor, ...]]:
    """A prompt -> the network's conditions for it, each [1, ...]."""
    for name, component in pipe.components.items():
        if name.startswith("text_encoder") and component is not None:
            component.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(prompt: str) -> tuple[Tensor, ...]:
        return adapter.encoded(pipe, prompt)

    return encode
