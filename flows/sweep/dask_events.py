"""Progress of trials on the workers of Dask, forwarded by its events to the process of the sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flows.system.progress import Outcome, Reporter, Step, reporter

if TYPE_CHECKING:
    from distributed import Client, Worker

TOPIC = "adasde"


class Messenger(Reporter):
    """Sends all progress to the scheduler of a worker of Dask."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def planned(self, stages: int, unchanged: int, *, where: str = "") -> None:
        self._send("planned", stages, unchanged, where)

    def started(self, stage: str) -> None:
        self._send("started", stage)

    def advanced(self, stage: str, step: Step) -> None:
        self._send("advanced", stage, step.done, step.total, step.unit)

    def finished(self, stage: str, outcome: Outcome, seconds: float) -> None:
        self._send("finished", stage, outcome, seconds)

    def _send(self, name: str, *values: Any) -> None:
        self._worker.log_event(TOPIC, [name, *values])


def this_worker() -> Worker | None:
    """The worker of Dask whose task calls this; None in other processes."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def listen(client: Client) -> None:
    """Forward what workers send to the reporter of this process until the client is closed."""
    handlers: dict[str, Callable[..., None]] = {
        "planned": lambda stages, unchanged, where: reporter().planned(stages, unchanged, where=where),
        "started": lambda stage: reporter().started(stage),
        "advanced": lambda stage, *step: reporter().advanced(stage, Step(*step)),
        "finished": lambda stage, outcome, seconds: reporter().finished(stage, outcome, seconds),
    }

    def handle(event: tuple[float, list[Any]]) -> None:
        name, *values = event[1]
        handlers[name](*values)

    client.subscribe_topic(TOPIC, handle)
