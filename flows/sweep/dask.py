"""A Dask cluster that runs trials: asked in time whether it can, then used through prefect-dask."""

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
"""Seconds that a worker may take to send Prefect its last events."""


def require_cluster(address: str, project: Path) -> None:
    """See that the scheduler answers and that its workers have the project and the package.

    Raises:
        AdaSDEError: Dask is not installed, or one of these is not so; says what to do.
    """
    if find_spec("prefect_dask") is None or find_spec("distributed") is None:
        raise AdaSDEError(
            "--dask needs prefect-dask, which is not installed. Install it with: pip install 'adasde[dask]'"
        )
    with connect(address) as client:
        seen = client.run(_sees, str(project))
    if not seen:
        raise AdaSDEError(
            f"the Dask scheduler at {address} has no workers. Start some in the environment of this project: "
            f"`dask worker {address} --nworkers 2 --nthreads 1 --no-nanny`."
        )
    for worker, reason in seen.items():
        if reason:
            raise AdaSDEError(
                f"the Dask worker {worker} cannot run trials: {reason}. Workers need the same installation "
                "and the same file system, with the project at the same path."
            )


def _sees(project: str) -> str:
    """Why the worker that runs this cannot work in the project; empty if it can."""
    if find_spec("flows") is None or find_spec("prefect") is None:
        return "adasde[pipeline,dask] is not installed there"
    return "" if Path(project, "dvc.yaml").is_file() else f"there is no project in {project}"


@contextmanager
def cluster(address: str, project: Path) -> Iterator[TaskRunner[Any]]:
    """Prefect's task runner on the cluster.

    Raises:
        AdaSDEError: see ``require_cluster``.
    """
    require_cluster(address, project)
    from prefect_dask import DaskTaskRunner

    from flows.sweep.dask_events import listen

    with DaskTaskRunner(address=address) as runner:
        listen(runner.client)
        yield runner
        with suppress(Exception):  # the trials are done: a cluster that has gone since then spoils nothing
            runner.client.run(_deliver, on_error="ignore")


async def _deliver() -> None:
    """Send what this worker still has to tell Prefect, events and logs, while its server is there.

    A worker that outlives the server of a sweep would try for minutes to reach it when it is to end.
    """
    from prefect.events.worker import EventsWorker

    await asyncio.to_thread(EventsWorker.drain_all, timeout=DELIVERY, at_exit=False)  # the logs' worker too
