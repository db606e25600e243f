"""What the orchestration commands share."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from adasde.cli_common import Json
from adasde.errors import AdaSDEError

__all__ = ["Json", "Project", "enter", "require_pipeline"]

Project = Annotated[Path, typer.Option("--project", help="A folder of the project.", metavar="FOLDER")]


def require_pipeline() -> None:
    """Refuse to start without the tools of the pipeline.

    Raises:
        AdaSDEError: names what is not installed, and the command that installs it.
    """
    missing = [name for name in ("dvc", "mlflow", "prefect") if find_spec(name) is None]
    if missing:
        raise AdaSDEError(
            f"this command needs {', '.join(missing)}, which the plain package does not bring. "
            "Install them with: pip install 'adasde[pipeline]'"
        )


def enter(project: Path) -> Path:
    """Find the project, go into its folder and set its environment; the folder."""
    from flows import environment

    require_pipeline()
    folder = environment.find_project(project)
    os.chdir(folder)
    environment.apply(folder)
    return folder
