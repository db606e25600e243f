"""Training of the bundled models from scratch; not a stage of the pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from adasde.models.families.toy.recipes import RECIPES
from adasde.models.families.toy.trainer import train_classifier, train_denoiser
from adasde.types import Summary
from adasde.utils.progress import track


def train(name: str, out: Path, *, seed: int = 0, iterations: int | None = None) -> Summary:
    """Train the bundled model ``name`` and its feature extractor into the checkpoint folder ``out``.

    ``iterations`` replaces the number of both recipes; the bundled weights were trained with None.

    Raises:
        DataError: ``out`` cannot be written.
    """
    jobs: dict[str, tuple[Any, Any]] = {
        "classifier": (train_classifier, RECIPES[name].classifier),
        "denoiser": (train_denoiser, RECIPES[name].denoiser),
    }
    for job, (run, settings) in jobs.items():
        if iterations is not None:
            settings = replace(settings, iterations=iterations)
        with track(settings.iterations, job, "iterations") as advance:
            run(name, out, seed=seed, settings=settings, progress=lambda *done, step=advance: step())
    return {"out": str(out), "seed": seed, "iterations": settings.iterations}
