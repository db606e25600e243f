"""One trial of a sweep: a sub-flow in a workspace of its own, in this process or on a worker of Dask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.dvc.stage import Site
from flows.pipeline.flow import run_stages
from flows.sweep.dask_events import Messenger, this_worker
from flows.sweep.workspace import Workspace
from flows.system import environment
from flows.system.locks import lock_holder, project_lock
from flows.system.logging import explain_failures
from flows.system.progress import tell
from flows.system.subprocesses import Crew

SECONDS_BETWEEN_LOOKS = 1.0

_crews: dict[str, Crew] = {}
_lock = threading.Lock()


def crew_of(attempt: str) -> Crew:
    """The one crew that all trials of one attempt at a sweep share in this process; bounded by its cores.

    On a worker of Dask it has as many places as the worker has threads, and is watched from the sweep.
    """
    with _lock:
        if attempt not in _crews:
            worker = this_worker()
            if worker is not None:
                tell(Messenger(worker))
            _crews[attempt] = Crew(worker.state.nthreads if worker else environment.parallel_stages())
        return _crews[attempt]


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def trial_task(name: str, workspace: Workspace, values: dict[str, Any], lock: Path, attempt: str) -> None:
    """Run a trial whose ``values`` are its params.yaml; ``lock`` is the dvc.lock that it starts from.

    Raises:
        AdaSDEError: a stage failed, or the workspace cannot be made.
    """
    explain_failures()
    with _while_the_sweep_lasts(workspace, crew_of(attempt)):
        trial(name, str(workspace.folder), workspace, values, lock, attempt)


@flow(name="adasde-trial", flow_run_name="{name}", retries=0, validate_parameters=False)
def trial(
    name: str, folder: str, workspace: Workspace, values: dict[str, Any], lock: Path, attempt: str
) -> None:
    """Make the workspace if need be and bring its stages up to date."""
    crew = crew_of(attempt)
    with project_lock(workspace.folder, "run"):
        workspace.prepare(values, crew=crew, lock=lock)
        run_stages(Site(workspace.folder, crew, workspace.environment(), label=name))


@contextmanager
def _while_the_sweep_lasts(workspace: Workspace, crew: Crew) -> Iterator[None]:
    """Stop the crew when the process that started the sweep is gone: Dask would let its tasks go on."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            if not lock_holder(workspace.folder.parent, "sweep"):
                crew.stop()
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
