"""The command that tries a grid of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import Json, Project, enter, observed

if TYPE_CHECKING:
    from flows.sweep.plan import Plan
    from flows.sweep.summary import SweepSummary

Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="A key of params.yaml and the values to try; repeat it to try every combination.",
        metavar="KEY=VALUE,VALUE",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(help="Run the trials on the Dask cluster with this scheduler.", metavar="ADDRESS"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and list the trials, but run none.")]
Challenger = Annotated[
    bool, typer.Option("--challenger", help="Give the best version of every budget the alias challenger.")
]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: adasde sweep --set distill.lr=0.05,0.1,0.2 --set nfe=5")(sweep)


def sweep(
    settings: Set,
    dask: Dask = None,
    challenger: Challenger = False,
    dry_run: DryRun = False,
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """Try every combination of settings side by side, each on its own; compare them and name the best.

    Started again, it resumes. params.yaml and the aliases of the registry stay as they are.
    """
    from flows.sweep.grid import parse_settings

    folder = enter(project)
    wanted = parse_settings(settings)
    if dry_run:
        from flows.sweep.plan import make_plan

        _list(make_plan(folder, wanted), as_json)
        return
    with observed(folder) as server:
        from flows.dvc.remote import require_storage
        from flows.sweep.plan import make_plan

        make_plan(folder, wanted)
        require_storage(folder)
        if dask is not None:
            from flows.sweep.dask import require_cluster

            require_cluster(dask, folder)
        from flows.sweep.flow import sweep as flow
        from flows.sweep.summary import SweepError

        server.wait()
        try:
            summary, error = flow(wanted, str(folder), dask=dask, challenger=challenger), None
        except SweepError as failed:
            summary, error = failed.summary, failed
    _show(summary, as_json)
    if error:
        raise error


def _list(plan: Plan, as_json: bool) -> None:
    if as_json:
        trials = [{"name": trial.name, "settings": dict(trial.settings)} for trial in plan.trials]
        print(json.dumps({"sweep": plan.id, "trials": trials, "shared": sorted(plan.shared())}))
        return
    for trial in plan.trials:
        typer.echo(trial.name)
    typer.echo(f"{len(plan.trials)} trials; all share {', '.join(sorted(plan.shared())) or 'nothing'}")


def _show(summary: SweepSummary, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary.to_json()))
        return
    from rich.console import Console

    console = Console()
    console.print()
    console.print(summary.table())
    for line in summary.lines():
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"MLflow run of the sweep: {summary.run_id}", highlight=False)
