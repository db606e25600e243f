"""What the orchestration commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adasde.errors import AdaSDEError
from adasde.utils.console import Json

if TYPE_CHECKING:
    from flows.servers.prefect import ServerAddress

__all__ = ["Json", "Project", "enter", "observed", "require_pipeline"]

Project = Annotated[Path, typer.Option("--project", help="A folder of the project.", metavar="FOLDER")]


def require_pipeline() -> None:
    """Refuse to start without the tools of the pipeline.

    Raises:
        AdaSDEError: names what is not installed, and the command that installs it.
    """
    missing = [name for name in ("dvc", "mlflow", "prefect") if find_spec(name) is None]
    if missing:
        raise AdaSDEError(
            f"this command needs {', '.join(missing)}, which the plain package does not include. "
            "Install them with: pip install 'adasde[pipeline]'"
        )


def enter(project: Path) -> Path:
    """Find the project, go into its folder and set its environment; the folder."""
    from flows.dvc.prepare import prepare
    from flows.system import environment

    require_pipeline()
    folder = environment.find_project(project)
    os.chdir(folder)
    prepare(folder)
    return folder


@contextmanager
def observed(project: Path) -> Iterator[ServerAddress]:
    """Show on stderr what flows do inside the block; the Prefect server, to be waited for before one starts.

    Prefect is to be imported inside the block.
    """
    from flows.servers.prefect import address, temporary_server
    from flows.system.progress import Bars, PlainLines, reporting_to

    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"  # the reporter shows it instead
    with ExitStack() as stack:
        bars = stack.enter_context(Bars(sys.stderr)) if sys.stderr.isatty() else None
        stack.enter_context(reporting_to(bars or PlainLines(sys.stderr)))
        server = address(project) or temporary_server(project)
        os.environ["PREFECT_API_URL"] = server.url
        yield server
