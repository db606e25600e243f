"""One command per stage of the pipeline; ``adasde sample`` has a module of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from adasde.cli.common import (
    CHECKPOINT,
    DATA,
    PARAMS,
    REFERENCE,
    Checkpoint,
    Nfe,
    Out,
    ParamsFile,
    Reference,
    Student,
    params_of,
)
from adasde.utils.console import Json, tell


def fetch(
    out: Out = None,
    params: ParamsFile = PARAMS,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the model's checkpoint, verified, into a folder; the files of a model card are downloaded."""
    if offline:
        os.environ["ADASDE_OFFLINE"] = "1"
    values = params_of(params)
    from adasde.stages.fetch import fetch as run

    tell("fetch", run(values, out=out or CHECKPOINT), as_json)


def reference(
    checkpoint: Checkpoint = CHECKPOINT,
    out: Out = None,
    metrics: Annotated[
        Path | None, typer.Option(help="File for the model's own FID.", metavar="FILE")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Only the statistics (--out FILE.npz) of these images.", metavar="FOLDER|ZIP"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With --data: a model's name or folder, if not --checkpoint.")
    ] = None,
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """Real images, their statistics, and the FID of the model with many steps (the stage).

    With --data: only the statistics of your own images, for evaluate.reference of params.yaml.
    """
    if data is None and model is not None:
        raise typer.BadParameter("goes with --data; the stage takes --checkpoint", param_hint="--model")
    if data is not None:
        if out is None or out.suffix != ".npz" or metrics is not None:
            raise typer.BadParameter("goes with --out FILE.npz, and without --metrics", param_hint="--data")
        from adasde.evaluation.statistics import reference_of

        tell("reference", reference_of(data, model or checkpoint, out=out), as_json)
        return
    values = params_of(params)
    from adasde.stages.reference import reference as run

    target = metrics or DATA / "metrics/floor.json"
    tell("reference", run(values, checkpoint, out=out or DATA / "reference", metrics=target), as_json)


def plan(out: Out = None, params: ParamsFile = PARAMS, as_json: Json = False) -> None:
    """Write the values of every student and budget, on which their stages depend."""
    from adasde.stages.plan import plan as run

    tell("plan", run(params_of(params), out=out or DATA / "plan"), as_json)


def teacher(
    nfe: Nfe,
    student: Student = None,
    checkpoint: Checkpoint = CHECKPOINT,
    out: Out = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread, a shard each.")] = 1,
    dask: Annotated[
        str | None, typer.Option(help="Shards on this Dask cluster, GPU workers too.", metavar="ADDRESS")
    ] = None,
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """Compute the teacher's trajectories; a stopped run resumes after the last complete shard.

    The bytes do not depend on --workers or --dask.
    """
    values = params_of(params)
    from adasde.stages.teacher import teacher as run

    target = out or DATA / f"teacher/nfe{nfe}/{student or values.only_student}"
    summary = run(values, nfe, student=student, checkpoint=checkpoint, out=target, workers=workers, dask=dask)
    tell("teacher", summary, as_json)


def distill(
    nfe: Nfe,
    student: Student = None,
    checkpoint: Checkpoint = CHECKPOINT,
    teacher: Annotated[Path | None, typer.Option(help="Folder written by teacher.", metavar="FOLDER")] = None,
    reference: Reference = REFERENCE,
    out: Out = None,
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """Learn the coefficients: writes coefficients.json and loss.csv.

    Several GPUs: torchrun --nproc-per-node 4 -m adasde distill ..., with distill.micro_batch at a quarter of
    distill.batch or less; the bytes do not depend on how many.
    """
    values = params_of(params)
    from adasde.stages.distill import distill as run
    from adasde.utils.devices import rank_of

    name = student or values.only_student
    summary = run(
        values,
        nfe,
        student=name,
        checkpoint=checkpoint,
        teacher=teacher or DATA / f"teacher/nfe{nfe}/{name}",
        reference=reference,
        out=out or DATA / f"distill/nfe{nfe}/{name}",
    )
    if rank_of()[0] == 0:
        tell("distill", summary, as_json)


def evaluate(
    nfe: Nfe,
    checkpoint: Checkpoint = CHECKPOINT,
    samples: Annotated[
        Path | None, typer.Option(help="Folder with those written by sample.", metavar="FOLDER")
    ] = None,
    reference: Reference = REFERENCE,
    out: Annotated[Path | None, typer.Option(help="File to write.", metavar="FILE")] = None,
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """FID, KID, precision and recall of every row of samples."""
    values = params_of(params)
    from adasde.stages.evaluate import evaluate as run

    summary = run(
        values,
        nfe,
        checkpoint=checkpoint,
        samples=samples or DATA / f"samples/nfe{nfe}",
        reference=reference,
        out=out or DATA / f"metrics/nfe{nfe}.json",
    )
    tell("evaluate", summary, as_json)


def report(
    data: Annotated[
        Path, typer.Option(help="Folder with the outputs of all stages.", metavar="FOLDER")
    ] = DATA,
    out: Annotated[Path, typer.Option(help="Folder to write.", metavar="FOLDER")] = Path("report"),
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """The table, the pictures, and a page with both."""
    values = params_of(params)
    from adasde.report import Results, results_table
    from adasde.stages.report import report as run

    summary = run(values, data, out=out)
    if not as_json:
        from rich.console import Console

        Console().print(results_table(Results.from_json(json.loads((out / "results.json").read_text()))))
    tell("report", summary, as_json)
