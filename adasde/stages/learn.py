"""Teacher trajectories, and the coefficients distilled from them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adasde.config.params import Params
from adasde.distillation.distill import Progress, iterations
from adasde.distillation.distill import distill as train
from adasde.distillation.losses import Features
from adasde.distillation.teacher import Teacher
from adasde.distillation.trajectories import Trajectories, shards, write_trajectories
from adasde.distillation.warm_start import fitted
from adasde.distillation.warm_start import origin as begun_with
from adasde.errors import CheckpointError, DataError
from adasde.evaluation.features import Summary
from adasde.evaluation.protocol import FEATURES
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import latents
from adasde.stages.common import made_with, student_grid, trained_model
from adasde.types import Model
from adasde.utils.atomic_io import sha256_json, write_text
from adasde.utils.batching import in_chunks
from adasde.utils.distributed import Group, joined
from adasde.utils.parallel import executor, spread
from adasde.utils.progress import track
from adasde.utils.safetensors_io import load_tensors
from adasde.utils.version import VERSION


def teacher(
    params: Params, nfe: int, *, checkpoint: Path, out: Path, workers: int = 1, dask: str | None = None
) -> Summary:
    """Write the teacher's states at the student's nodes as shards; whole shards that fit are kept.

    Of a student that learns its grid, whose inner nodes are not the teacher's, the states at both ends.

    ``workers`` processes, or those of the Dask scheduler at ``dask``, compute a shard each; the bytes are
    the same.

    Raises:
        SolverError: ``nfe`` does not fit the student.
        CheckpointError: the model cannot be loaded, or a worker finds other weights.
        DataError: ``out`` cannot be written, or holds files of somebody else.
        AdaSDEError: no Dask scheduler answers.
    """
    recipe = params.for_nfe(nfe)
    model = trained_model(params, checkpoint)
    plan = shards(recipe.training_seeds, recipe.teacher.shard)
    alone = workers == 1 and dask is None
    with track(recipe.teacher.trajectories, f"teacher@{nfe}", "trajectories") as advance:

        def elsewhere(pieces: Sequence[range]) -> Iterator[tuple[range, Tensor]]:
            job = partial(_shard, params.model_dump_json(), nfe, str(checkpoint.absolute()), model.sha256)
            with executor(min(workers, len(pieces)), dask=dask) as pool:
                for seeds, states in spread(job, pieces, pool):
                    advance(len(seeds))
                    yield seeds, torch.from_numpy(states)

        def here(pieces: Sequence[range]) -> Iterator[tuple[range, Tensor]]:
            return ((seeds, _states(recipe, nfe, model, seeds, advance)) for seeds in pieces)

        made = write_trajectories(
            out,
            plan,
            made_from=teacher_origin(params, nfe, model=model),
            states=here if alone else elsewhere,
            reused=advance,
        )
    return {"out": str(out), "made": made, "reused": len(plan) - made}


_loading = Lock()


def _shard(params: str, nfe: int, checkpoint: str, sha256: str, seeds: range) -> np.ndarray:
    """The states of one shard in another process, which loads the model itself."""
    with _loading:  # a worker of Dask may have several threads
        known, model = _loaded(params, checkpoint, sha256)
    return _states(known.for_nfe(nfe), nfe, model, seeds).numpy()


@lru_cache(maxsize=1)
def _loaded(params: str, checkpoint: str, sha256: str) -> tuple[Params, Model]:
    """Parameters (JSON) and their model, once for all shards of a process, again where the weights change.

    Raises:
        CheckpointError: the checkpoint has other weights than where the shards were asked for.
    """
    known = Params.model_validate_json(params)
    model = trained_model(known, Path(checkpoint))
    if model.sha256 != sha256:
        raise CheckpointError(
            f"{checkpoint} has weights of sha256 {model.sha256[:12]}… on this worker, and {sha256[:12]}… "
            "where the shards were asked for: give all workers the same files."
        )
    return known, model


def _states(
    recipe: Params, nfe: int, model: Model, seeds: range, advance: Callable[[int], None] = lambda count: None
) -> Tensor:
    """The teacher's states [N+1, B, *shape] of ``seeds``, or [2, B, *shape] at both ends."""
    grid, settings = recipe.schedule, recipe.teacher
    solver = Teacher(solver=settings.solver, inserted=settings.inserted, substeps=settings.substeps)

    def states(piece: range) -> Tensor:
        return solver.states(
            model.bind(piece),
            latents(piece, model.shape, device=model.device),
            schedule=grid.name,
            steps=recipe.steps(nfe),
            sigma_min=grid.sigma_min,
            sigma_max=grid.sigma_max,
            rho=grid.rho,
            inner=not recipe.distill.learn_grid,
        ).cpu()

    return in_chunks(seeds, settings.batch, states, advance=advance, dim=1)


def teacher_origin(params: Params, nfe: int, *, model: Model) -> dict[str, Any]:
    """All that a trajectory depends on, beside its seed."""
    recipe = params.for_nfe(nfe)
    settings = recipe.teacher.model_dump(include={"solver", "inserted", "substeps", "batch"})
    return {
        **made_with(params, model, "distillation/teacher.py"),
        "steps": recipe.steps(nfe),
        "schedule": recipe.schedule.model_dump(exclude={"per_nfe"}),
        "teacher": settings,
        "kept": "both ends" if recipe.distill.learn_grid else "all nodes",
    }


def distill(
    params: Params, nfe: int, *, checkpoint: Path, teacher: Path, out: Path, reference: Path | None = None
) -> Summary:
    """Write ``out``/coefficients.json and ``out``/loss.csv (see ``_as_csv``).

    Under ``torchrun`` the processes share every batch (see ``MicroBatches``), and the first of them writes.
    ``reference``: the folder of the stage ``reference``, needed where ``distill.energy_weight`` is not 0.

    Raises:
        CoefficientsError, StoreError: the table of ``distill.start`` cannot be read, or does not fit.
        DataError: a shard is missing, damaged or made otherwise, there are no real images for the energy
            distance, or ``out`` cannot be written.
        ParamsError: more processes than pieces of a batch.
        DivergenceError: the loss is not finite; nothing is written.
    """
    recipe = params.for_nfe(nfe)
    model = trained_model(params, checkpoint)
    origin = teacher_origin(params, nfe, model=model)
    stored = Trajectories.open(teacher, shards(recipe.training_seeds, recipe.teacher.shard), made_from=origin)
    given = Coefficients.load(recipe.distill.start) if recipe.distill.start else None
    with joined() as group:
        steps = _steps(
            params,
            nfe,
            model=model,
            stored=stored,
            checkpoint=checkpoint,
            reference=reference,
            start=fitted(given, nfe),
            group=group,
        )
        total = iterations(recipe.distill.settings())
        history = list(_watched(steps, total=total, name=f"distill@{nfe}") if group.rank == 0 else steps)
        if group.rank == 0:
            write_text(out / "loss.csv", _as_csv(history))
            table = _documented(history[-1].coefficients, recipe, model=model, origin=origin, start=given)
            table.save(out / "coefficients.json")
    return {"out": str(out), "iterations": len(history), "last_loss": history[-1].losses[-1]}


def _steps(
    params: Params,
    nfe: int,
    *,
    model: Model,
    stored: Trajectories,
    checkpoint: Path,
    reference: Path | None,
    start: Coefficients | None,
    group: Group,
) -> Iterator[Progress]:
    """The training, an optimiser step after the other."""
    recipe = params.for_nfe(nfe)
    settings = recipe.distill.settings()
    features = _features(model, checkpoint) if settings.feature_weight or settings.energy_weight else None
    batches = stored.batches(
        settings.batch,
        seed=recipe.seed,
        count=iterations(settings),
        features=features if settings.feature_weight else None,
        device=model.device,
    )
    return train(
        model.denoise,
        batches,
        student_grid(params, nfe),
        settings=settings,
        afs=recipe.afs,
        features=features,
        real=_real(reference).to(model.device) if settings.energy_weight else None,
        bind=model.bind,
        start=start,
        group=group,
    )


def _features(model: Model, checkpoint: Path) -> Features:
    from adasde.evaluation.features import load_features

    extractor = load_features(checkpoint, device=model.device)
    return lambda samples: extractor(model.images(samples))


def _real(reference: Path | None) -> Tensor:
    """Features of real images from the folder of the stage ``reference``."""
    known = None if reference is None else load_tensors(reference / FEATURES).get("features")
    if known is None or len(known) < 2:
        raise DataError(
            f"distill.energy_weight compares with real images, and {reference or 'the command'} gives none: "
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
    recipe: Params,
    *,
    model: Model,
    origin: dict[str, Any],
    start: Coefficients | None,
) -> Coefficients:
    """The table with whose it is and how it was made; nothing that changes from run to run."""
    params = recipe.model_dump(include={"seed", "afs", "schedule", "teacher", "distill"})
    for name in ("schedule", "teacher", "distill"):
        del params[name]["per_nfe"]
    if start is None:
        del params["distill"]["start"]
    seeds = recipe.training_seeds
    provenance = {
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
