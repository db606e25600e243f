"""The flow: every stage of DVC's graph as a Prefect task, then artifacts, then tracking."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.futures import wait as wait_for_all
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.dvc import graph
from flows.dvc.prepare import prepare
from flows.dvc.remote import require_storage
from flows.dvc.repair import repair
from flows.dvc.stage import Site, run_stage
from flows.pipeline.artifacts import publish
from flows.system import environment
from flows.system.locks import project_lock
from flows.system.logging import explain_failures
from flows.system.progress import Outcome, Step, reporter
from flows.system.subprocesses import Crew
from flows.tracking.runs import Tracked, load_libraries, track

SECONDS_BETWEEN_UPDATES = 5.0


@dataclass(frozen=True)
class RunSummary:
    """Result of a flow run: the outcome of every stage by name, and the tracked runs."""

    outcomes: Mapping[str, Outcome]
    tracked: Sequence[Tracked]

    def count(self, outcome: Outcome) -> int:
        """How many stages ended so."""
        return sum(one == outcome for one in self.outcomes.values())


class ProgressArtifact:
    """A Prefect progress artifact, made at the first step and moved at most every few seconds."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._id: Any = None
        self._due = 0.0

    def __call__(self, step: Step) -> None:
        """Show how far the stage is."""
        if time.monotonic() < self._due and step.percent < 100:
            return
        self._due = time.monotonic() + SECONDS_BETWEEN_UPDATES
        if self._id is None:
            key = f"progress-{self._stage.replace('@', '-').lower()}"
            about = f"{self._stage} ({step.unit})"
            self._id = create_progress_artifact(step.percent, key=key, description=about)
        else:
            update_progress_artifact(self._id, step.percent)


@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def stage_task(stage: str, site: Site) -> Any:
    """Run one stage through DVC; ends as ``Cached`` where DVC found it unchanged."""
    log = get_run_logger()
    outcome = run_stage(stage, site, log=log.info, progress=ProgressArtifact(stage))
    if outcome == "unchanged":
        return Completed(name="Cached", message="unchanged", data=outcome)
    return outcome


@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def unchanged_task(stage: str) -> Any:
    """Show an unchanged stage without starting anything."""
    return Completed(name="Cached", message="unchanged since its last run", data="unchanged")


@task(task_run_name="publish", cache_policy=NO_CACHE)
def publish_task(project: str) -> None:
    """Show the results table and the picture of FID over NFE as artifacts of the flow run."""
    publish(Path(project))


@task(task_run_name="track", cache_policy=NO_CACHE)
def track_task(project: str, flow_run_id: str) -> list[Tracked]:
    """Log what is new in MLflow and register the coefficients."""
    return track(Path(project), flow_run_id=flow_run_id)


@flow(name="adasde")
def pipeline(project: str = ".") -> RunSummary:
    """Bring every stage of the project up to date, then publish, track and register the results.

    Raises:
        AdaSDEError: a stage failed (StageError with its last lines), the project cannot be read, its storage
            does not work, or another run works in it and this one was started by hand.
    """
    folder = environment.find_project(Path(project))
    prepare(folder)
    explain_failures()
    with project_lock(folder, "run", wait=True):
        require_storage(folder)
        Thread(target=load_libraries, name="libraries of track", daemon=True).start()
        outcomes = run_stages(Site(folder, Crew(environment.parallel_stages())))
        publish_task(str(folder))
        tracked = track_task(str(folder), str(flow_run.get_id()))
    return RunSummary(outcomes, tracked)


def run_stages(site: Site, only: Collection[str] | None = None) -> dict[str, Outcome]:
    """Submit every stage, wait for all, and return their outcomes; the first failure is raised at the end.

    ``only`` restricts the run to stages that depend on no others.
    """
    repair(site.folder)
    stages = graph.read_stages(site.folder)
    if only is not None:
        stages = {name: stage for name, stage in stages.items() if name in only}
    unchanged = graph.unchanged(site.folder, stages, env=site.env)
    reporter().planned(len(stages), len(unchanged), where=site.label)
    futures: dict[str, PrefectFuture[Any]] = {}
    try:
        for stage in stages.values():
            needs = [futures[name] for name in stage.needs]
            if stage.name in unchanged:
                futures[stage.name] = unchanged_task.submit(stage.name, wait_for=needs, return_state=False)
            else:
                futures[stage.name] = stage_task.submit(stage.name, site, wait_for=needs, return_state=False)
        wait_for_all(list(futures.values()))
    except BaseException:
        site.crew.stop()
        raise
    for future in futures.values():
        if future.state.is_failed() or future.state.is_crashed():
            future.result()
    return {name: future.result() for name, future in futures.items()}
