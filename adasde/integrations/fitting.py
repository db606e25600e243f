"""Whether coefficients fit the pipeline of ``diffusers`` that they are given to."""

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
"""The settings of a scheduler, which say how a network was trained, or the pipeline that has it."""


def settings_of(trained: Trained | None) -> Mapping[str, Any]:
    """The settings of the scheduler; none: nothing is known."""
    if isinstance(trained, DiffusionPipeline):
        pipe: Any = trained
        return pipe.scheduler.config
    return trained or {}


def check_checkpoint(table: Coefficients, pipe: Any) -> None:
    """Refuse a ``DiffusionPipeline`` of other weights than the coefficients were distilled for.

    They are compared where it was loaded from a folder and the coefficients name a SHA-256.

    Raises:
        CoefficientsError: they are others.
    """
    index = Path(pipe.name_or_path or "", INDEX)
    if table.model.get("sha256") and index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))
        table.check_model(weights_hash(index.parent, names))


def check_prediction(table: Coefficients, given: str) -> None:
    """Refuse another ``prediction_type`` than the coefficients were distilled for (CoefficientsError)."""
    known = table.model.get("prediction_type")
    if known is not None and known != given:
        raise CoefficientsError(
            f"these coefficients were distilled for prediction_type {known}, not {given}. Use {known}, or "
            "distil again."
        )


def alike(given: Sequence[float] | Tensor, known: Sequence[float]) -> bool:
    """Whether ``given`` are the nodes ``known``, as far as float32 and rounding for people go."""
    values = np.asarray(given, dtype=np.float64).ravel()
    return len(values) == len(known) and np.allclose(values, known, rtol=1e-4)
