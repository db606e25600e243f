"""The orchestration commands of ``adasde``; nothing heavy is imported before one is run."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.cli import registry, reproduce, servers, sweep, transfer
from flows.cli.common import Json, Project, enter, observed

if TYPE_CHECKING:
    from flows.pipeline.flow import RunSummary


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(epilog="Example: adasde run")(run)
    sweep.register(app)
    registry.register(app)
    servers.register(app)
    transfer.register(app)
    reproduce.register(app)


def run(project: Project = Path(), as_json: Json = False) -> None:
    """Bring every stage up to date, then track and register the coefficients in MLflow."""
    from flows.dvc.remote import require_storage
    from flows.system.locks import project_lock

    began = time.monotonic()
    folder = enter(project)
    with project_lock(folder, "run"):
        require_storage(folder)  # refused now rather than after the server has started
    summary = _run_flow(folder)
    _show(folder, summary, seconds=time.monotonic() - began, as_json=as_json)


def _run_flow(project: Path) -> RunSummary:
    from adasde.config.params import load_params
    from flows.dvc.graph import require_params

    with observed(project) as server:
        load_params(project / "params.yaml")
        require_params(project)
        import mlflow  # noqa: F401 (while the server starts)

        from flows.pipeline.flow import pipeline

        server.wait()
        return pipeline(str(project))


def _show(project: Path, summary: RunSummary, *, seconds: float, as_json: bool) -> None:
    import json

    from adasde.report.results import read_results, results_table

    results = read_results(project)
    if as_json:
        runs = [vars(tracked) for tracked in summary.tracked]
        print(json.dumps({"stages": dict(summary.outcomes), "runs": runs, "results": results.to_json()}))
        return
    from rich.console import Console

    console = Console()
    console.print()
    console.print(results_table(results))
    for line in closing_lines(summary, seconds=seconds):
        console.print(line, highlight=False, soft_wrap=True)


def closing_lines(summary: RunSummary, *, seconds: float) -> list[str]:
    """What was done, and where to look next."""
    new = sum(tracked.new for tracked in summary.tracked)
    uri = os.environ["MLFLOW_TRACKING_URI"].replace(f"sqlite:///{Path.cwd()}/", "sqlite:///")
    command = f"DO_NOT_TRACK=true {_program('mlflow')} ui --backend-store-uri {uri}"
    prefect = f"DO_NOT_TRACK=true PREFECT_HOME=.prefect {_program('prefect')} server start"
    best = [tracked for tracked in summary.tracked if tracked.version]
    models = ", ".join(f"{one.model} (version {one.version}, {one.student})" for one in best)
    return [
        f"{summary.count('ran')} stages ran, {summary.count('unchanged')} were unchanged; "
        f"{new} new MLflow runs; {seconds:.0f} s",
        "Report:      report/index.html",
        f"MLflow:      {command if uri.startswith('sqlite:') else uri}",
        f"Prefect:     {prefect}",
        f"Registered:  {models}; for instance models:/{best[0].model}@challenger",
    ]


def _program(name: str) -> Path:
    """A program of this installation, as it is called from the present folder."""
    path = Path(sys.executable).with_name(name)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
