"""The flow ``sweep``: shared stages, then all trials in parallel, then the best one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.dvc import graph
from flows.dvc.prepare import prepare
from flows.dvc.remote import require_storage
from flows.dvc.stage import Site
from flows.pipeline.flow import run_stages
from flows.sweep.grid import Settings, Trial
from flows.sweep.plan import Plan, make_plan
from flows.sweep.record import SweepRecord
from flows.sweep.summary import SweepError, SweepSummary
from flows.sweep.trial import crew_of, trial_task
from flows.system import environment
from flows.system.locks import project_lock
from flows.system.logging import explain_failures
from flows.system.progress import reporter
from flows.system.subprocesses import Crew

SHARED = "shared"
"""The workspace of what trials share and the project does not have."""


@flow(name="adasde-sweep", validate_parameters=False)
def sweep(
    settings: dict[str, Any], project: str = ".", dask: str | None = None, challenger: bool = False
) -> SweepSummary:
    """Try every combination of ``settings``: dotted key of params.yaml -> a list of values, or one.

    ``dask`` is the address of a Dask scheduler that runs the trials; ``challenger`` gives the best of every
    budget that alias.

    Raises:
        ParamsError: a trial cannot be run as it is set; nothing was started.
        SweepError: a trial failed; the others are done, and the same sweep again runs what is missing.
        AdaSDEError: what all share failed, the same sweep runs already, the storage does not work, Dask or
            MLflow cannot be reached.
    """
    explain_failures()
    folder = environment.find_project(Path(project))
    prepare(folder)
    plan = make_plan(folder, as_settings(settings))
    require_storage(folder)
    attempt = f"{flow_run.get_id()}-{flow_run.get_run_count()}"
    crew = crew_of(attempt)
    with project_lock(plan.folder, "sweep"), _runner(plan, dask, crew) as runner:
        lock = run_shared(plan, crew)
        record = SweepRecord.start(plan, str(flow_run.get_id()))
        try:
            _run_trials(record, runner, lock, attempt)
        except BaseException:
            crew.stop()
            record.interrupted()
            raise
        summary = record.finish(challenger=challenger)
    create_markdown_artifact(summary.markdown(), key="sweep", description=summary.headline)
    if summary.failures:
        raise SweepError(summary)
    return summary


def as_settings(settings: dict[str, Any]) -> Settings:
    """A value that is no list is the only one."""
    return {key: value if isinstance(value, list) else [value] for key, value in settings.items()}


def run_shared(plan: Plan, crew: Crew) -> Path:
    """Bring the stages up to date that no setting touches; the dvc.lock that trials start from.

    Those of the project in the project itself, those of other budgets in a workspace.
    """
    with project_lock(plan.project, "run", wait=True):
        if names := plan.shared():
            run_stages(Site(plan.project, crew, label=SHARED), names)
    lock = plan.project / "dvc.lock"
    if not plan.missing():
        return lock
    workspace = plan.workspace(SHARED)
    with project_lock(workspace.folder, "run"):
        workspace.prepare(plan.shared_values(), crew=crew, lock=lock)
        stages = graph.read_stages(workspace.folder)
        names = stages.keys() - plan.touched(stages)
        run_stages(Site(workspace.folder, crew, workspace.environment(), label=SHARED), names)
    return workspace.folder / "dvc.lock"


def _run_trials(record: SweepRecord, runner: TaskRunner[Any], lock: Path, attempt: str) -> None:
    """Run every trial that has not its runs yet, and record each when it ends."""
    futures: dict[PrefectFuture[Any], Trial] = {}
    for trial in record.plan.trials:
        if record.known(trial):
            reporter().note(f"{trial.name}: done before")
            continue
        parameters = {
            "name": trial.name,
            "workspace": record.plan.workspace(trial.folder),
            "values": dict(trial.values),
            "lock": lock,
            "attempt": attempt,
        }
        futures[runner.submit(trial_task, parameters)] = trial
    for future in as_completed(list(futures)):
        trial = futures[future]
        try:
            future.result()
            record.add(trial)
        except Exception as error:
            record.failed(trial, error)
        reporter().note(record.progress(trial))


@contextmanager
def _runner(plan: Plan, dask: str | None, crew: Crew) -> Iterator[TaskRunner[Any]]:
    """Threads of this process, as many as stages may compute at once, or the workers of a Dask cluster."""
    if dask is None:
        threads: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=crew.size)
        with threads:
            yield threads
        return
    from flows.sweep.dask import cluster

    with cluster(dask, plan.project) as workers:
        yield workers
