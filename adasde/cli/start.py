"""``adasde init`` and ``adasde estimate``: how to begin with a model, and what it will cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from adasde.cli.common import CHECKPOINT, PARAMS, ParamsFile, params_of
from adasde.errors import ParamsError
from adasde.utils.console import Json


def init(
    model: Annotated[str, typer.Option(help="A name of 'adasde models'.", metavar="NAME")],
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE")] = PARAMS,
    nfe: Annotated[str, typer.Option(help="Numbers of evaluations.", metavar="N,N")] = "3,5,7,9",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="paper, single-step or multistep; default: paper, for a packaged model what measured best.",
            metavar="NAME",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented params.yaml for a model, by the paper's recipe or another; show what it takes."""
    try:
        budgets = list(dict.fromkeys(int(one) for one in nfe.split(",")))
    except ValueError as error:
        raise typer.BadParameter(f"{nfe!r} is no list of numbers like 3,5", param_hint="--nfe") from error
    from adasde.config.cost import hours
    from adasde.config.params import check_params
    from adasde.config.template import template
    from adasde.models.describe import beginning, description
    from adasde.utils.atomic_io import write_text
    from adasde.utils.yaml_schema import read_yaml

    text = template(model, budgets, recipe=recipe)
    facts = description(model, batch=64)
    if out.exists() and not force:
        raise ParamsError(
            f"{out} is there already. Name another file with --out, or overwrite it with --force."
        )
    write_text(out, text)
    values, memory = check_params(read_yaml(out)), facts["memory"]
    time = hours(values, parameters=memory["parameters"] if memory else None)
    if as_json:
        summary = {"out": str(out), "model": model, "nfe": budgets, "files": facts["files"], "time": time}
        print(json.dumps({"stage": "init", **summary, "licence": facts["licence"], "memory": memory}))
        return
    print(beginning(facts, out=str(out), judges=values.judges, time=time))


def estimate(
    params: ParamsFile = PARAMS,
    checkpoint: Annotated[
        Path, typer.Option(help="Folder written by fetch, if there.", metavar="FOLDER")
    ] = CHECKPOINT,
    as_json: Json = False,
) -> None:
    """Predict network evaluations, hours and disk of every stage from ten seconds of measurement."""
    from adasde.config import cost

    found = cost.estimate(params_of(params), checkpoint=checkpoint)
    print(json.dumps({"stage": "estimate", **found}) if as_json else cost.description(found))
