"""The commands that move the pipeline's bytes between machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import Json, Project, enter


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(epilog="Example: adasde push")(push)
    app.command(epilog="Example: adasde pull")(pull)


def push(project: Project = Path(), as_json: Json = False) -> None:
    """Send the outputs of the stages, as dvc.lock names them, to the storage."""
    from adasde.utils.console import tell
    from flows.dvc.transfer import transfer

    url, said = transfer("push", enter(project))
    tell("push", {"out": url, "dvc": said or "done"}, as_json)


def pull(
    project: Project = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed here.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the outputs of the stages, as dvc.lock names them, from the storage."""
    from adasde.utils.console import tell
    from flows.dvc.transfer import transfer

    url, said = transfer("pull", enter(project), force=force)
    tell("pull", {"out": url, "dvc": said or "done"}, as_json)
