"""The stages that learn: ``adasde teacher`` and ``adasde distill``."""

from __future__ import annotations

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
    params_of,
)
from adasde.utils.console import Json, tell


def teacher(
    nfe: Nfe,
    checkpoint: Checkpoint = CHECKPOINT,
    out: Out = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread, a shard each.")] = 1,
    dask: Annotated[
        str | None, typer.Option(help="Shards on this Dask cluster, GPU workers too.", metavar="ADDRESS")
    ] = None,
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """Compute the teacher's trajectories; a run that was stopped carries on from whole shards.

    The bytes do not depend on --workers or --dask.
    """
    values = params_of(params)
    from adasde.stages.teacher import teacher as run

    target = out or DATA / f"teacher/nfe{nfe}"
    tell(
        "teacher",
        run(values, nfe, checkpoint=checkpoint, out=target, workers=workers, dask=dask),
        as_json,
    )


def distill(
    nfe: Nfe,
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

    source = teacher or DATA / f"teacher/nfe{nfe}"
    target = out or DATA / f"distill/nfe{nfe}"
    given = {"checkpoint": checkpoint, "teacher": source, "reference": reference}
    summary = run(values, nfe, **given, out=target)
    if rank_of()[0] == 0:
        tell("distill", summary, as_json)
