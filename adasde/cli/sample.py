"""``adasde sample``: a stage of the pipeline, or any seeds into a folder, an archive or a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adasde.cli.common import CHECKPOINT, DATA, PARAMS, params_of
from adasde.utils.console import Json, tell


def sample(
    nfe: Annotated[
        int | None,
        typer.Option("--nfe", min=1, help="Stage: network evaluations per image.", metavar="N"),
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="Stage: a name of students in params.yaml, if it has several.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Stage: the baselines, not a student.")
    ] = False,
    checkpoint: Annotated[
        Path, typer.Option(help="Stage: folder written by fetch.", metavar="FOLDER")
    ] = CHECKPOINT,
    coefficients: Annotated[
        str | None,
        typer.Option(help="Written by distill: a file, s3://, https://, models:/NAME@ALIAS.", metavar="FILE"),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Folder, or with --seeds also FILE.zip, FILE.npz, s3://BUCKET/PREFIX.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Draw these seeds, for instance 0-49999 or 1,2,5-10.", metavar="RANGE")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With --seeds: a model's name or folder, if not the one of the file.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="With --seeds: classifier-free guidance, if the file names none.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            "--class",
            help="With --seeds: classes that alternate by the seed.",
            metavar="0,3,7-9",
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="With --seeds: a prompt, or a file with one a line; they alternate by the seed.",
            metavar="FILE|TEXT",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="With --seeds: images computed together.")] = 64,
    device: Annotated[
        str | None,
        typer.Option(help="With --seeds: cpu, cuda, cuda:1 (default: ADASDE_DEVICE or a GPU)."),
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(help="With --seeds: a picture of the first images.", metavar="FILE.png")
    ] = None,
    compare: Annotated[
        str, typer.Option(help="With --seeds: a sheet beside these solvers, for instance ddim,dpm2,ipndm.")
    ] = "",
    dask: Annotated[
        str | None, typer.Option(help="With --seeds: draw on this Dask cluster.", metavar="ADDRESS")
    ] = None,
    timing: Annotated[
        Path | None, typer.Option(help="Stage: file of wall times, if not beside --out.", metavar="FILE")
    ] = None,
    params: Annotated[Path, typer.Option("--params", help="Stage: file with all numbers.")] = PARAMS,
    force: Annotated[bool, typer.Option(help="Accept the coefficients of another checkpoint.")] = False,
    as_json: Json = False,
) -> None:
    """Draw images: of any seeds (--seeds), or of a student or the baselines as the stages do (--nfe).

    Both resume where they stopped. Several GPUs: torchrun --nproc-per-node 4 -m adasde sample ...
    """
    if seeds is not None:
        from adasde.generation.generate import SampleOptions, run
        from adasde.generation.seeds import parse_seeds
        from adasde.utils.devices import default_device

        if coefficients is None or out is None:
            raise typer.BadParameter("--seeds needs --coefficients and --out as well.")
        solvers = tuple(name.strip() for name in compare.split(",") if name.strip())
        options = SampleOptions(
            coefficients,
            parse_seeds(seeds),
            out,
            model=model,
            guidance=guidance,
            batch=batch,
            device=device or default_device(),
            grid=grid,
            compare=solvers,
            dask=dask,
            conditions=_conditions(classes, prompts),
            force=force,
        )
        tell("sample", run(options), as_json)
        return
    if nfe is None or classes is not None or prompts is not None:
        raise typer.BadParameter("say which images: --seeds 0-99 with --coefficients and --out, or --nfe 5.")
    from adasde.config.students import BASELINES
    from adasde.stages.sample import sample as run_stage

    values = params_of(params)
    name = BASELINES if baselines else student or values.only_student
    if not baselines:
        values.steps(nfe, name)
    source: str | Path | None = coefficients or DATA / f"distill/nfe{nfe}/{name}/coefficients.json"
    target = Path(out) if out else DATA / f"samples/nfe{nfe}/{name}"
    times = timing or (None if out else DATA / f"samples/nfe{nfe}.{name}.timing.json")
    summary = run_stage(
        values,
        nfe,
        checkpoint=checkpoint,
        coefficients=None if baselines else source,
        out=target,
        timing=times,
        force=force,
    )
    tell("sample", summary, as_json)


def _conditions(classes: str | None, prompts: str | None) -> tuple[int, ...] | tuple[str, ...]:
    """The classes or prompts that alternate by the seed."""
    from adasde.generation.conditions import parse_classes, parse_prompts

    if classes is not None and prompts is not None:
        raise typer.BadParameter("a model takes --classes or --prompts, never both.")
    if classes is not None:
        return tuple(parse_classes(classes))
    return () if prompts is None else tuple(parse_prompts(prompts))
