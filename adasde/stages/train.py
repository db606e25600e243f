"""Training of the embedded models from scratch; not a stage of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from adasde.models.families.toy import train_digits as digits
from adasde.models.families.toy import train_glyphs as glyphs
from adasde.types import Summary
from adasde.utils.progress import track

Job = tuple[Callable[..., None], Any]
"""A training and its settings."""


def train_digits(out: Path, *, seed: int = 0, iterations: int | None = None) -> Summary:
    """Train the digits denoiser and its feature extractor into the checkpoint folder ``out``.

    ``iterations`` replaces the number of both recipes; the shipped weights were made with None.

    Raises:
        DataError: ``out`` cannot be written.
    """
    return _train(
        out,
        classifier=(digits.train_classifier, digits.ClassifierTraining()),
        denoiser=(digits.train_denoiser, digits.DenoiserTraining()),
        seed=seed,
        iterations=iterations,
    )


def train_glyphs(out: Path, *, seed: int = 0, iterations: int | None = None) -> Summary:
    """Train the glyphs denoiser and its feature extractor; as ``train_digits``."""
    return _train(
        out,
        classifier=(glyphs.train_classifier, glyphs.ClassifierTraining()),
        denoiser=(glyphs.train_denoiser, glyphs.DenoiserTraining()),
        seed=seed,
        iterations=iterations,
    )


def _train(out: Path, *, classifier: Job, denoiser: Job, seed: int, iterations: int | None) -> Summary:
    for name, (train, settings) in (("classifier", classifier), ("denoiser", denoiser)):
        recipe = settings if iterations is None else replace(settings, iterations=iterations)
        with track(recipe.iterations, name, "iterations") as advance:
            train(out, seed=seed, settings=recipe, progress=lambda done, total, step=advance: step())
    return {"out": str(out), "seed": seed, "iterations": recipe.iterations}
