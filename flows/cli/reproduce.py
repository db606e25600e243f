"""The command that makes a run again and compares."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import Json, Project, enter

if TYPE_CHECKING:
    from flows.reproduce.reproduce import Reproduction


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: adasde reproduce 0123456789abcdef0123456789abcdef")(reproduce)


def reproduce(
    run_id: Annotated[str, typer.Argument(help="The id of a run in MLflow.", metavar="RUN_ID")],
    project: Project = Path(),
    out: Annotated[
        Path | None,
        typer.Option(help="Where to make it; default: .cache/reproduce/RUN_ID.", metavar="FOLDER"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Restore what made a run in a folder of its own, run it there, and say which outputs are the same bytes.

    Exit code 0 if all of them are; wall times are not compared.
    """
    began = time.monotonic()
    place = None if out is None else out.resolve()  # before the folder changes
    folder = enter(project)
    from flows.reproduce import reproduce as reproducing

    done = reproducing.reproduce(folder, run_id, out=place, say=lambda line: typer.echo(line, err=True))
    if as_json:
        print(json.dumps(done.to_json()))
    else:
        _show(done, seconds=time.monotonic() - began)
    done.require_identical()


def _show(done: Reproduction, *, seconds: float) -> None:
    from rich.console import Console

    from flows.reproduce.checkout import INPUTS
    from flows.reproduce.compare import tables
    from flows.reproduce.reproduce import closing_lines

    console = Console()
    console.print()
    for table in tables(done.comparison, inputs=INPUTS):
        console.print(table)
    warnings = [f"warning: {warning}" for warning in done.warnings]
    for line in (*warnings, *closing_lines(done, seconds=seconds)):
        console.print(line, highlight=False, soft_wrap=True)
