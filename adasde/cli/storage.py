"""``adasde store``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

from adasde.utils.console import Json

COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow"}

store = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The storage of checkpoints, coefficients and the pipeline's bytes.",
)


@store.callback()
def group() -> None:
    """Commands of the storage."""


@store.command(epilog="Example: adasde store check --url s3://bucket/prefix")
def check(
    url: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix or a folder, instead of the project's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check endpoint, credentials, bucket, write, read, list and delete; each failure has a remedy."""
    from adasde.errors import StoreError
    from adasde.storage import check as checks
    from adasde.storage.resolve import DEFAULT, VARIABLE, configured_url

    where = url or os.environ.get(VARIABLE) or configured_url() or DEFAULT
    steps = []
    for step in checks.check(url):
        steps.append(step)
        if not as_json:
            skipped = step.outcome == "skipped"
            outcome = typer.style(f"{step.outcome:8}", fg=COLOURS[step.outcome])
            spent, note = (" " * 9, step.note) if skipped else (f"{step.milliseconds:6.0f} ms", "")
            typer.echo(f"{step.name:12} {outcome} {spent}  {note}".rstrip())
    failures = [step for step in steps if step.outcome == "failed"]
    if as_json:
        print(json.dumps({"stage": "store check", "url": where, "steps": [asdict(step) for step in steps]}))
    if failures:
        raise StoreError(" ".join(f"{step.name}: {step.note}" for step in failures))
    if not as_json:
        typer.echo(f"store check: {where} works")
