"""Whose turn it is in a project: a run of a deployment waits where a run by hand is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run
from prefect.states import Running

from flows.system.locks import BusyError, only_run

SECONDS_BETWEEN_TRIES = 5.0


@contextmanager
def turn(project: Path) -> Iterator[None]:
    """Hold the project's lock; a run of a deployment waits for it, and its state says so.

    Raises:
        BusyError: another run holds the lock, and this one was started by hand.
    """
    waiting = False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(only_run(project))
                break
            except BusyError as busy:
                if deployment.get_id() is None:
                    raise
                if not waiting:
                    _show("Waiting", f"{busy} This one waits.")
                waiting = True
                time.sleep(SECONDS_BETWEEN_TRIES)
        if waiting:
            _show("Running", "The other run has ended.")
        yield


def _show(name: str, message: str) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(str(flow_run.get_id()), Running(name=name, message=message), force=True)
