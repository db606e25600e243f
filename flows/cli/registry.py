"""Commands that change and show the champion."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import Json, Project, enter

if TYPE_CHECKING:
    from flows.registry.service import PromotionResult

Model = Annotated[str, typer.Argument(help="As in params.yaml, for instance digits.", metavar="MODEL")]
Nfe = Annotated[int, typer.Option("--nfe", min=1, help="Network evaluations per image.", metavar="N")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(epilog="Example: adasde promote digits --nfe 5 --dry-run")(promote)
    app.command(epilog="Example: adasde rollback digits --nfe 5 --reason 'blurred in production'")(rollback)
    app.command(epilog="Example: adasde registry digits --nfe 5 --json")(registry)


def promote(
    model: Model,
    nfe: Nfe,
    candidate: Annotated[
        int | None, typer.Option(min=1, help="This version, instead of the challenger.", metavar="VERSION")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, but write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote whatever the policy says; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Recorded with the decision.", metavar="TEXT")] = "",
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """Make the challenger champion if it wins by the policy of params.yaml; losing is no failure."""
    if force and not reason.strip():
        raise typer.BadParameter("it needs --reason TEXT, which is recorded", param_hint="--force")
    folder = enter(project)
    if _prefect_responds(folder):  # a flow run, which then shows the decision
        from flows.registry.flow import promote as flow

        (result,) = flow(model, nfe, candidate, dry_run, force, reason=reason.strip(), project=str(folder))
    else:
        from flows.registry import service

        result = service.promote(
            folder, model, nfe, version=candidate, dry_run=dry_run, force=force, reason=reason.strip()
        )
    _show(result, as_json)


def _prefect_responds(project: Path) -> bool:
    """Whether a Prefect server is chosen and answers; it is then the one that flows use."""
    from flows.servers.prefect import address

    server = address(project)
    if server is None:
        return False
    if not server.responds():
        typer.echo(f"note: Prefect at {server.url} does not answer, so it does not show this", err=True)
        return False
    os.environ["PREFECT_API_URL"] = server.url
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    return True


def rollback(
    model: Model,
    nfe: Nfe,
    reason: Annotated[str, typer.Option(help="Recorded with the rollback.", metavar="TEXT")] = "",
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """Return to the previous champion."""
    folder = enter(project)
    from flows.registry import service

    _show(service.rollback(folder, model, nfe, reason=reason.strip()), as_json)


def registry(
    model: Annotated[
        str | None, typer.Argument(help="Only this one, for instance digits.", metavar="MODEL")
    ] = None,
    nfe: Annotated[int | None, typer.Option(min=1, help="Only this budget.", metavar="N")] = None,
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """List versions, aliases, FID, and who was promoted when and why."""
    folder = enter(project)
    from flows.registry.show import list_models, tables

    models = list_models(folder, model, nfe)
    if as_json:
        print(json.dumps({"models": models}))
        return
    from rich.console import Console

    if not models:
        typer.echo("nothing is registered under that name: 'adasde registry' lists everything")
        return
    console = Console()
    for table in tables(models):
        console.print(table)
    for entry in models:
        for note in entry["notes"]:
            typer.echo(f"note: {entry['name']}: {note}")
        if entry["champion"]:
            typer.echo(f"champion: {entry['pointer']}")


def _show(result: PromotionResult, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(result)))
        return
    for line in result.lines():
        typer.echo(line)
