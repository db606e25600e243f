"""Loading of pre-trained models, each as ``D(x, sigma)`` in EDM's coordinates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adasde.errors import CheckpointError, ParamsError
from adasde.models.core.checkpoint import PROMPTS, Card, Component, find, read_card, read_weights, verified
from adasde.models.core.conditioning import by_class
from adasde.models.core.libraries import short
from adasde.models.core.precision import Runtime
from adasde.models.core.prompts import Prompted, Source, read_prompts
from adasde.models.core.registry import network_of
from adasde.models.families.adm.classifier import guided_by
from adasde.models.families.ldm import stable
from adasde.models.hub.custom import (
    FILE,
    LINKED,
    PIPELINE,
    file_with_card,
    follow_link,
    is_file,
    is_function,
    model_of,
)
from adasde.sampling.wrappers import Clamped
from adasde.types import Model


def build(card: Card, component: Component, weights: dict[str, Tensor]) -> nn.Module:
    """The frozen network of one part of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: the family is unknown, or the weights do not fit it.
    """
    try:
        network = network_of(card, component)
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {card.name!r} ({component.file}) do not fit the family {component.family!r}: "
            f"{short(error)}"
        ) from error
    return network.eval().requires_grad_(False)


def load_model(
    spec: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    prompts: Source = None,
    runtime: Runtime | None = None,
) -> Model:
    """Load a frozen model.

    ``spec`` is the name of a bundled model, a checkpoint folder, ``diffusers:`` and the
    folder or hub id of a pipeline, ``file:`` and a safetensors file with a card beside it, or
    ``module:function``, which returns a ``Model``. ``prompts`` are a text-to-image model's, a list or a file.
    ``runtime``: number format, layout and compilation of a network that a card describes.

    Raises:
        CheckpointError: there is no such model, or its files are damaged or of another checkpoint.
        ParamsError: ``runtime`` for a model that is code.
    """
    spec = str(spec)
    if runtime is not None and (spec.startswith(PIPELINE) or is_function(spec)):
        raise ParamsError(
            f"number format, layout and compilation cannot be chosen for {spec!r}, whose network is "
            "another library's or your own code. Leave runtime out (in params.yaml: the section network as "
            "it is by default), and choose them there."
        )
    if spec.startswith(PIPELINE):
        from adasde.models.families.diffusers.pipeline import load_pipeline

        return load_pipeline(spec.removeprefix(PIPELINE), device=device, prompts=prompts)
    if is_function(spec):
        return model_of(spec)
    folder: Path | None = None
    if is_file(spec):
        card, weights = file_with_card(Path(spec.removeprefix(FILE)))
    else:
        folder = find(spec)
        card = read_card(folder)
        if not prompts and card.prompts is not None:
            prompts = verified(folder, card.prompts)
        if card.model.family == LINKED:
            load = partial(load_model, device=device, prompts=prompts, runtime=runtime)
            return follow_link(card, folder, load)
        weights = read_weights(folder, card.model)
    runtime = runtime or Runtime()
    return _assembled(card, weights, folder=folder, device=device, prompts=prompts, runtime=runtime)


def _assembled(
    card: Card,
    weights: dict[str, Tensor],
    *,
    folder: Path | None,
    device: str | torch.device,
    prompts: Source,
    runtime: Runtime,
) -> Model:
    """The model of a card; what else belongs to it lies in ``folder``."""
    plain = build(card, card.model, weights)
    network = runtime.prepare(plain, device)
    others = {
        role: build(card, part, read_weights(folder, part)).to(device)
        for role, part in (("classifier", card.classifier), ("autoencoder", card.autoencoder))
        if part is not None and folder is not None
    }
    facts = _conditions(card, network)
    if isinstance(plain, stable.StableDiffusion):
        place = folder or Path()
        beside = place / PROMPTS
        written = read_prompts(prompts or (beside if beside.exists() else None))
        tokenizer = None if card.tokenizer is None else verified(place, card.tokenizer)
        encode = stable.Encoder(plain, place, tokenizer=tokenizer)
        facts["condition"] = Prompted(network, encode, written, name=card.name)
        facts["prompts"] = written
    if "classifier" in others:
        facts["condition"] = guided_by(network, others["classifier"], plain.process, classes=card.classes)
    if card.model.about.get("clamp"):
        facts |= _clamped(facts)
    return Model(
        **facts,
        name=card.name,
        shape=card.shape,
        sigma_min=card.sigma_min,
        sigma_max=card.sigma_max,
        sha256=card.model.sha256,
        decode=others.get("autoencoder", getattr(network, "decode", None)),
        device=str(device),
    )


def _clamped(facts: Mapping[str, Any]) -> dict[str, Any]:
    """``denoise`` and ``condition`` of ``facts``, with clean estimates clamped, after guidance."""
    clamped: dict[str, Any] = {"denoise": Clamped(facts["denoise"])}
    condition = facts.get("condition")
    if condition is not None:
        clamped["condition"] = lambda seeds, guidance: Clamped(condition(seeds, guidance))
    return clamped


def _conditions(card: Card, network: Callable[..., Tensor]) -> dict[str, Any]:
    """``denoise`` and, of a class-conditional network, ``classes`` and ``condition``."""
    if not card.classes:
        return {"denoise": network}
    has_null = bool(card.model.about.get("null_class", True))
    return by_class(network, card.classes, name=card.name, has_null=has_null)
