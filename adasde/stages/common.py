"""Loading the model and fingerprints, for several stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from adasde.config.params import Params
from adasde.config.sections import NetworkParams
from adasde.models.core.conditioning import with_random_classes
from adasde.models.core.precision import Runtime
from adasde.models.loading import load_model
from adasde.stages.code import code_hash
from adasde.types import Model
from adasde.utils.atomic_io import sha256_json
from adasde.utils.devices import default_device

FEATURES = "features.safetensors"
"""Features of real images for the energy distance; empty where only statistics are known."""


def trained_model(params: Params, checkpoint: Path) -> Model:
    """The model of ``checkpoint`` as ``params`` train with it, on ``default_device``.

    That is with their guidance, number format and class policy ``teacher.classes``.

    Raises:
        CheckpointError: it cannot be loaded.
        SolverError: guidance of a model without classes or prompts.
        ParamsError: a number format for a network that is another library's or the user's own code.
    """
    model = _model(params, checkpoint)
    return with_random_classes(model) if params.teacher.classes == "random" else model


def _model(params: Params, checkpoint: Path) -> Model:
    runtime = None if params.network == NetworkParams() else Runtime(**params.network.model_dump())
    model = load_model(checkpoint, device=default_device(), runtime=runtime)
    model = replace(model, guidance=params.guidance)
    model.bind(range(1))
    return model


def evaluated_model(params: Params, checkpoint: Path) -> Model:
    """The model of ``checkpoint`` for evaluation: with the class policy ``sample.classes``.

    Raises:
        CheckpointError, SolverError: as ``trained_model``.
    """
    model = _model(params, checkpoint)
    return model if params.sample.classes == "balanced" else with_random_classes(model)


def made_with(stage: str, params: Params, model: Model) -> dict[str, Any]:
    """Everything but seeds that a file of ``stage`` depends on: weights, guidance, arithmetic, our code."""
    guided: dict[str, Any] = {} if model.guidance == 1 else {"guidance": model.guidance}
    if params.network != NetworkParams():
        guided["network"] = params.network.model_dump()
    if model.prompts:
        guided["prompts"] = sha256_json(list(model.prompts))
    versions = {"torch": torch.__version__, "code": code_hash(stage)}
    return {"model": model.name, "sha256": model.sha256, **versions, **guided}
