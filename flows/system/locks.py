"""Locks of a project folder: what one process at a time may do there, and what its holder announces."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from adasde.errors import AdaSDEError

Announce = Callable[[Mapping[str, Any]], None]
Lock = Literal["run", "servers", "promotion", "reproduce", "sweep"]

REFUSALS: Mapping[Lock, str] = {
    "run": "another run is working in {folder} (process {process}). Wait until it has ended, or stop it with "
    "Ctrl-C, then start this one again.",
    "servers": "the servers of {folder} are up already (process {process}): `adasde doctor` shows where.",
    "promotion": "another promotion or rollback is under way in {folder} (process {process}). Wait until it "
    "has ended, then start this one again.",
    "reproduce": "run {key} is being reproduced already (process {process}). Wait until that has ended.",
    "sweep": "the same sweep is under way (process {process}). Wait until it has ended, or stop it with "
    "Ctrl-C; when started again it resumes.",
}
"""Messages to whoever finds a lock taken."""

SECONDS_BETWEEN_TRIES = 5.0


class BusyError(AdaSDEError):
    """Another process holds the requested lock."""


@contextmanager
def project_lock(folder: Path, lock: Lock, *, key: str = "", wait: bool = False) -> Iterator[Announce]:
    """Exclusive lock of ``folder``; the system releases it when this process ends, however it ends.

    The yielded function sets what ``lock_holder`` returns in other processes. ``key`` distinguishes locks of
    one kind. With ``wait`` a run of a deployment waits for the lock, which its Prefect state shows.

    Raises:
        BusyError: another process holds the lock; says which one, and what to do.
    """
    path = _path(folder, lock, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:

        def announce(values: Mapping[str, Any]) -> None:
            stream.truncate(0)
            stream.write(json.dumps({"process": os.getpid(), **values}))
            stream.flush()

        waiting = False
        while not _acquired(stream, fcntl.LOCK_EX):
            process = _read(stream).get("process", "unknown")
            busy = BusyError(REFUSALS[lock].format(folder=folder, key=key, process=process))
            if not (wait and _is_deployment()):
                raise busy
            if not waiting:
                _show_state("Waiting", f"{busy} This run waits for it.")
            waiting = True
            time.sleep(SECONDS_BETWEEN_TRIES)
        if waiting:
            _show_state("Running", "The other run has ended.")
        announce({})
        yield announce


def lock_holder(folder: Path, lock: Lock) -> dict[str, Any]:
    """Announcement of the process that holds the lock, with its number (``process``); empty if none does."""
    path = _path(folder, lock)
    if not path.is_file():
        return {}
    with path.open("r", encoding="utf-8") as stream:
        return {} if _acquired(stream, fcntl.LOCK_SH) else _read(stream)


def _path(folder: Path, lock: Lock, key: str = "") -> Path:
    suffix = f"-{hashlib.sha256(key.encode()).hexdigest()[:16]}" if key else ""
    return folder / ".cache" / f"{lock}{suffix}.lock"


def _acquired(stream: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(stream, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(stream: IO[str]) -> dict[str, Any]:
    stream.seek(0)
    try:
        return dict(json.loads(stream.read()))
    except (ValueError, TypeError):  # not written yet
        return {}


def _is_deployment() -> bool:
    from prefect.runtime import deployment

    return deployment.get_id() is not None


def _show_state(name: str, message: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run
    from prefect.states import Running

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(str(flow_run.get_id()), Running(name=name, message=message), force=True)
