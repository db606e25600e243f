"""Training of the embedded model from scratch; not a stage of the pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adasde.models.train_digits import ClassifierTraining, DenoiserTraining, train_classifier, train_denoiser
from adasde.progress import track
from adasde.stages.common import Summary


def train_digits(out: Path, *, seed: int = 0, iterations: int | None = None) -> Summary:
    """Train the digits denoiser and its feature extractor into the checkpoint folder ``out``.

    ``iterations`` replaces the number of both recipes; the shipped weights were made with None.

    Raises:
        DataError: ``out`` cannot be written.
    """
    denoiser, classifier = DenoiserTraining(), ClassifierTraining()
    if iterations is not None:
        denoiser = replace(denoiser, iterations=iterations)
        classifier = replace(classifier, iterations=iterations)
    with track(classifier.iterations, "classifier", "iterations") as advance:
        train_classifier(out, seed=seed, settings=classifier, progress=lambda done, total: advance())
    with track(denoiser.iterations, "denoiser", "iterations") as advance:
        train_denoiser(out, seed=seed, settings=denoiser, progress=lambda done, total: advance())
    return {"out": str(out), "seed": seed, "iterations": denoiser.iterations}
