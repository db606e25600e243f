"""A Dask cluster for the trials of a sweep: checked first, then used through prefect-dask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.errors import AdaSDEError
from flows.system.dask import connect

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

DELIVERY = 30.0
"""Seconds that a worker may take to send its last events to Prefect."""


def require_cluster(address: str, project: Path) -> None:
    """Check that the scheduler answers and that its workers have the project and the package.

    Raises:
        AdaSDEError: one of these fails, or Dask is not installed.
    """
    if find_spec("prefect_dask") is None or find_spec("distributed") is None:
        raise AdaSDEError(
            "--dask needs prefect-dask, which is not installed. Install it with: pip install 'adasde[dask]'"
        )
    with connect(address) as client:
        obstacles = client.run(_obstacle, str(project))
    if not obstacles:
        raise AdaSDEError(
            f"the Dask scheduler at {address} has no workers. Start some in the environment of this project: "
            f"`dask worker {address} --nworkers 2 --nthreads 1 --no-nanny`."
        )
    for worker, reason in obstacles.items():
        if reason:
            raise AdaSDEError(
                f"the Dask worker {worker} cannot run trials: {reason}. Workers need the same installation "
                "and the same file system, with the project at the same path."
            )


def _obstacle(project: str) -> str:
    """The reason why the worker that runs this cannot run trials; empty if it can."""
    if find_spec("flows") is None or find_spec("prefect") is None:
        return "adasde[pipeline,dask] is not installed there"
    return "" if Path(project, "dvc.yaml").is_file() else f"there is no project in {project}"


@contextmanager
def cluster(address: str, project: Path) -> Iterator[TaskRunner[Any]]:
    """Prefect's task runner on the cluster.

    Raises:
        AdaSDEError: as ``require_cluster``.
    """
    require_cluster(address, project)
    from prefect_dask import DaskTaskRunner

    from flows.sweep.dask_events import listen

    with DaskTaskRunner(address=address) as runner:
        listen(runner.client)
        yield runner
        with suppress(Exception):  # the trials are done: the cluster may be gone
            runner.client.run(_deliver, on_error="ignore")


async def _deliver() -> None:
    """Flush the events and logs of this worker to Prefect while its server runs.

    A worker that outlives the server of a sweep would otherwise take minutes to end, trying to reach it.
    """
    from prefect.events.worker import EventsWorker

    await asyncio.to_thread(EventsWorker.drain_all, timeout=DELIVERY, at_exit=False)  # the logs' worker too
