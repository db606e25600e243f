"""The coefficients distilled from the teacher's trajectories."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.config.params import Budget, Params
from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import distill as train
from adasde.distillation.distill import iterations
from adasde.distillation.losses import Features, of_images
from adasde.distillation.progress import Progress
from adasde.distillation.shards import shards
from adasde.distillation.trajectories import Trajectories
from adasde.distillation.warm_start import fitted
from adasde.distillation.warm_start import origin as begun_with
from adasde.errors import DataError
from adasde.sampling.coefficients import Coefficients
from adasde.stages.common import FEATURES, trained_model
from adasde.stages.teacher import teacher_origin
from adasde.types import Model, Summary
from adasde.utils.atomic_io import sha256_json, write_text
from adasde.utils.distributed import Group, joined
from adasde.utils.progress import track
from adasde.utils.safetensors_io import load_tensors
from adasde.utils.version import VERSION


def distill(
    params: Params,
    nfe: int,
    *,
    checkpoint: Path,
    teacher: Path,
    out: Path,
    student: str | None = None,
    reference: Path | None = None,
) -> Summary:
    """Write ``out``/coefficients.json and ``out``/loss.csv (see ``_as_csv``).

    Under ``torchrun`` the processes share every batch (see ``MicroBatches``), and the first of them writes.
    ``reference``: the folder of the stage ``reference``, needed where ``distill.energy_weight`` is not 0.

    Raises:
        CoefficientsError, StoreError: the table of ``distill.start`` cannot be read, or does not fit.
        DataError: a shard is missing, damaged or made otherwise, there are no real images for the energy
            distance, or ``out`` cannot be written.
        ParamsError: more processes than micro-batches of a batch.
        DivergenceError: the loss is not finite; nothing is written.
    """
    budget = params.at(nfe, student)
    model = trained_model(budget.params, checkpoint)
    origin = teacher_origin(budget, model=model)
    plan = shards(budget.params.training_seeds, budget.params.teacher.shard)
    stored = Trajectories.open(teacher, plan, made_from=origin)
    start = budget.params.distill.start
    given = Coefficients.load(start) if start else None
    with joined() as group:
        steps = _steps(
            budget,
            model=model,
            stored=stored,
            checkpoint=checkpoint,
            reference=reference,
            start=fitted(given, nfe),
            group=group,
        )
        total = iterations(budget.settings)
        history = list(
            _watched(steps, total=total, name=f"distill@{budget.student}-{nfe}") if group.rank == 0 else steps
        )
        if group.rank == 0:
            write_text(out / "loss.csv", _as_csv(history))
            table = _documented(history[-1].coefficients, budget, model=model, origin=origin, start=given)
            table.save(out / "coefficients.json")
    return {"out": str(out), "iterations": len(history), "last_loss": history[-1].losses[-1]}


def _steps(
    budget: Budget,
    *,
    model: Model,
    stored: Trajectories,
    checkpoint: Path,
    reference: Path | None,
    start: Coefficients | None,
    group: Group,
) -> Iterator[Progress]:
    """The training, one optimiser step after another."""
    settings = budget.settings
    features = None
    if settings.feature_weight or settings.energy_weight:
        features = _features(settings, model, checkpoint)
    batches = stored.batches(
        settings.batch,
        seed=budget.params.seed,
        count=iterations(settings),
        features=features if settings.feature_weight else None,
        device=model.device,
    )
    return train(
        model.denoise,
        batches,
        budget.sigmas,
        settings=settings,
        afs=budget.params.afs,
        features=features,
        real=_real(reference).to(model.device) if settings.energy_weight else None,
        bind=model.bind,
        start=start,
        group=group,
        seed=budget.params.seed,
    )


def _features(settings: DistillSettings, model: Model, checkpoint: Path) -> Features:
    from adasde.evaluation.features import load_features

    return of_images(load_features(checkpoint, device=model.device), settings, model.decode)


def _real(reference: Path | None) -> Tensor:
    """Features of real images from the folder of the stage ``reference``."""
    known = None if reference is None else load_tensors(reference / FEATURES).get("features")
    if known is None or len(known) < 2:
        raise DataError(
            f"distill.energy_weight compares with real images, and {reference or 'the command'} has none: "
            "name their folder or archive in evaluate.reference (statistics alone are not enough), run "
            "'adasde reference', or set distill.energy_weight to 0."
        )
    return known


def _watched(steps: Iterable[Progress], *, total: int, name: str) -> Iterator[Progress]:
    with track(total, name, "iterations") as advance:
        for progress in steps:
            yield progress
            advance(1, note=f"loss {progress.losses[-1]:.2g}")


def _as_csv(history: list[Progress]) -> str:
    """Columns: iteration, node_1 ... node_N and, where they have weight, features and energy."""
    last = history[0].coefficients.steps
    names = [f"node_{i + 1}" for i in range(last - len(history[0].losses), last)]
    names += ["features"] * (history[0].feature_loss is not None)
    names += ["energy"] * (history[0].energy is not None)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["iteration", *names])
    for progress in history:
        values = (*progress.losses, progress.feature_loss, progress.energy)
        writer.writerow([progress.iteration, *(f"{value:.9g}" for value in values if value is not None)])
    return text.getvalue()


def _documented(
    table: Coefficients,
    budget: Budget,
    *,
    model: Model,
    origin: dict[str, Any],
    start: Coefficients | None,
) -> Coefficients:
    """The table with its model and provenance, which are the same in every run."""
    params = budget.params.model_dump(include={"seed", "afs", "schedule", "teacher", "distill"})
    for name in ("schedule", "teacher", "distill"):
        del params[name]["per_nfe"]
    if start is None:
        del params["distill"]["start"]
    seeds = budget.params.training_seeds
    provenance = {
        "student": budget.student,
        "recipe": budget.recipe,
        "params": params,
        "seeds": [seeds.start, seeds.stop],
        "teacher": sha256_json(origin),
        "version": VERSION,
        **begun_with(start),
    }
    about: dict[str, Any] = {"name": model.name, "sha256": model.sha256}
    if model.condition is not None:
        about["guidance"] = model.guidance
    if model.prediction_type is not None:
        about["prediction_type"] = model.prediction_type
    return replace(table, model=about, provenance=provenance)
