"""Training of the bundled models from scratch; not a stage of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from adasde.models.families.toy import train_digits as digits
from adasde.models.families.toy import train_glyphs as glyphs
from adasde.types import Summary
from adasde.utils.progress import track


def train_digits(out: Path, *, seed: int = 0, iterations: int | None = None) -> Summary:
    """Train the digits denoiser and its feature extractor into the checkpoint folder ``out``.

    ``iterations`` replaces the number of both recipes; the bundled weights were trained with None.

    Raises:
        DataError: ``out`` cannot be written.
    """
    return _train(out, digits, seed=seed, iterations=iterations)


def train_glyphs(out: Path, *, seed: int = 0, iterations: int | None = None) -> Summary:
    """Train the glyphs denoiser and its feature extractor; as ``train_digits``."""
    return _train(out, glyphs, seed=seed, iterations=iterations)


def _train(out: Path, model: ModuleType, *, seed: int, iterations: int | None) -> Summary:
    jobs: dict[str, tuple[Callable[..., None], Any]] = {
        "classifier": (model.train_classifier, model.ClassifierTraining()),
        "denoiser": (model.train_denoiser, model.DenoiserTraining()),
    }
    for name, (train, settings) in jobs.items():
        recipe = settings if iterations is None else replace(settings, iterations=iterations)
        with track(recipe.iterations, name, "iterations") as advance:
            train(out, seed=seed, settings=recipe, progress=lambda done, total, step=advance: step())
    return {"out": str(out), "seed": seed, "iterations": recipe.iterations}
