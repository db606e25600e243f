"""Checks that coefficients fit a pipeline of ``diffusers``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline
from torch import Tensor

from adasde.errors import CoefficientsError
from adasde.models.families.diffusers.folder import INDEX, weights_hash
from adasde.sampling.coefficients import Coefficients

Trained = Mapping[str, Any] | DiffusionPipeline
"""Settings of a scheduler, which describe how the network was trained, or a pipeline with a scheduler."""


def settings_of(trained: Trained | None) -> Mapping[str, Any]:
    """Settings of the scheduler; empty where ``trained`` is None."""
    if isinstance(trained, DiffusionPipeline):
        pipe: Any = trained
        return pipe.scheduler.config
    return trained or {}


def check_checkpoint(table: Coefficients, pipe: Any) -> None:
    """Raise if the weights of a ``DiffusionPipeline`` differ from those that coefficients were distilled for.

    Checked where the pipeline was loaded from a folder and the coefficients have a SHA-256.

    Raises:
        CoefficientsError: the weights differ.
    """
    index = Path(pipe.name_or_path or "", INDEX)
    if table.model.get("sha256") and index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))
        table.check_model(weights_hash(index.parent, names))


def check_prediction(table: Coefficients, given: str) -> None:
    """Raise CoefficientsError if ``prediction_type`` differs from the distilled one."""
    known = table.model.get("prediction_type")
    if known is not None and known != given:
        raise CoefficientsError(
            f"these coefficients were distilled for prediction_type {known}, not {given}. Use {known}, or "
            "distil again."
        )


def alike(given: Sequence[float] | Tensor, known: Sequence[float]) -> bool:
    """Whether ``given`` equals the nodes ``known`` up to float32 and rounding for display."""
    values = np.asarray(given, dtype=np.float64).ravel()
    return len(values) == len(known) and np.allclose(values, known, rtol=1e-4)
