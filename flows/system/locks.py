"""What one process at a time may do in a project folder, and what its holder tells the others."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adasde.errors import AdaSDEError

Announce = Callable[[Mapping[str, Any]], None]


class BusyError(AdaSDEError):
    """Another process holds the lock that was asked for."""


@contextmanager
def only_run(project: Path) -> Iterator[None]:
    """Hold the project's lock; the system releases it when this process ends, however it ends.

    Raises:
        BusyError: another run holds it.
    """
    refusal = (
        f"another run is working in {project} (process PROCESS). "
        "Wait until it has ended, or stop it with Ctrl-C, then start this one again."
    )
    with _held(project, "run", refusal):
        yield


@contextmanager
def only_servers(project: Path) -> Iterator[Announce]:
    """Hold the lock of the project's servers; call what it yields to tell others where they are.

    Raises:
        BusyError: they run already.
    """
    refusal = f"the servers of {project} are up already (process PROCESS): `adasde doctor` shows where."
    with _held(project, "servers", refusal) as announce:
        yield announce


@contextmanager
def only_promotion(project: Path) -> Iterator[None]:
    """Hold the lock of what changes champions.

    Raises:
        BusyError: another process changes them.
    """
    refusal = (
        f"another promotion or rollback is under way in {project} (process PROCESS). "
        "Wait until it has ended, then start this one again."
    )
    with _held(project, "promotion", refusal):
        yield


@contextmanager
def only_reproduction(project: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of the folder in which a run is made again.

    Raises:
        BusyError: another process makes it.
    """
    refusal = f"run {run_id} is being reproduced already (process PROCESS). Wait until that has ended."
    with _held(project, f"reproduce-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}", refusal):
        yield


@contextmanager
def only_sweep(folder: Path) -> Iterator[None]:
    """Hold the lock of a sweep, which is that of its folder.

    Raises:
        BusyError: another process is at it.
    """
    refusal = (
        "the same sweep is under way (process PROCESS). Wait until it has ended, or stop it with Ctrl-C; "
        "started again it carries on where it was."
    )
    with _held(folder, "sweep", refusal):
        yield


def current_sweep(folder: Path) -> dict[str, Any]:
    """The ``process`` that is at the sweep of that folder; empty where none is."""
    return _holder(folder, "sweep")


def running_servers(project: Path) -> dict[str, Any]:
    """What the process that holds the lock of the servers has announced; empty where none runs."""
    return _holder(project, "servers")


def current_run(project: Path) -> dict[str, Any]:
    """The ``process`` that works in the project; empty where none does."""
    return _holder(project, "run")


def _holder(project: Path, name: str) -> dict[str, Any]:
    path = _path(project, name)
    if not path.is_file():
        return {}
    with path.open("r", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(stream.read())
    return {}


def _path(project: Path, name: str) -> Path:
    return project / ".cache" / f"{name}.lock"


def _read(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):  # not written yet
        return {}


@contextmanager
def _held(project: Path, name: str, refusal: str) -> Iterator[Announce]:
    path = _path(project, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:

        def announce(values: Mapping[str, Any]) -> None:
            stream.truncate(0)
            stream.write(json.dumps({"process": os.getpid(), **values}))
            stream.flush()

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = str(_read(stream.read()).get("process", "unknown"))
            raise BusyError(refusal.replace("PROCESS", holder)) from error
        announce({})
        yield announce
