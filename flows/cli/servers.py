"""Commands for scheduled runs: the servers, Prefect's own command line, and the diagnosis."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flows.cli.common import Json, Project, enter

PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}

Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Instead of the default port.", metavar="PORT")
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(epilog="Example: adasde up")(up)
    app.command(epilog="Example: adasde doctor")(doctor)
    app.command(epilog="Example: adasde prefect deploy --all", context_settings=PASSED_ON)(prefect)


def up(
    project: Project = Path(),
    prefect_port: Port = None,
    mlflow_port: Port = None,
    mlflow: Annotated[bool, typer.Option(help="Start MLflow's server too.")] = True,
    worker: Annotated[bool, typer.Option(help="Start a worker too.")] = True,
) -> None:
    """Start the servers of Prefect and MLflow and a worker on this machine; Ctrl-C stops them."""
    folder = enter(project)
    from flows.servers.up import ServerOptions, serve

    options = ServerOptions(prefect_port, mlflow_port, mlflow, worker)
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        serve(folder, options, echo=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("stopped", flush=True)


def _as_interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def doctor(project: Project = Path(), as_json: Json = False) -> None:
    """Check everything the pipeline relies on; exit code 1 if something must be fixed."""
    from flows.doctor import examine, show

    if not show(examine(project), as_json=as_json):
        raise typer.Exit(1)


def prefect(context: typer.Context, project: Project = Path()) -> None:
    """Prefect's own command line, with the settings of the project and the server of `adasde up`."""
    folder = enter(project)
    os.environ["PWD"] = str(folder)  # prefect.yaml asks for it
    os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
    if context.args[:1] != ["server"]:
        from flows.servers.prefect import api_of

        os.environ["PREFECT_API_URL"] = api_of(folder)
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *context.args])
