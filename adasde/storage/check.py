"""Checks of a store, step by step and in a few seconds: outcome and time of each, and what to do."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from adasde.errors import AdaSDEError, StoreError
from adasde.storage.base import Patience, Store
from adasde.storage.resolve import open_store

CONTENT = b"written by adasde store check; it may be deleted\n"
HASTY = Patience(attempts=2, connect=3.0, read=5.0)
LISTINGS, PAUSE = 5, 0.3
"""How often a new object is looked for in the listing, and seconds between: some servers list later."""

SERVER = ("settings", "endpoint", "credentials", "bucket")
"""Steps that all later ones need; "read" and "delete" also need "write"."""


@dataclass(frozen=True)
class CheckStep:
    """One check.

    Attributes:
        milliseconds: its duration.
        note: why it failed and what to do, or why it was skipped.
    """

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    milliseconds: float = 0.0
    note: str = ""


def check(url: str | None = None) -> Iterator[CheckStep]:
    """Check the settings, endpoint, credentials and bucket, then write, read, list and delete an object.

    ``url`` as in ``open_store``. A step that needs a failed one is skipped. A failure is a step, never an
    exception.
    """
    calls: dict[str, Callable[[], object]] = {
        "settings": lambda: calls.update(_calls(open_store(url, patience=HASTY)))
    }
    failed: list[str] = []
    for name in (*SERVER, *StoreTrial.STEPS):
        blocking = [one for one in failed if one in SERVER or (one == "write" and name != "list")]
        if blocking:
            step = CheckStep(name, "skipped", note=f"{blocking[0]} failed")
        elif name not in calls:
            step = CheckStep(name, "skipped", note="a folder needs none")
        else:
            step = _tried(name, calls[name])
        if step.outcome == "failed":
            failed.append(name)
        yield step


def require_working(store: Store, *, writable: bool = True) -> None:
    """Run the steps of ``check`` except listing, which may take long in a large folder.

    Without ``writable`` only the server is checked: readers need no right to write.

    Raises:
        StoreError: the first failure; why, and what to do.
    """
    calls = _calls(store) if writable else store.probes()
    for name, call in calls.items():
        if name != "list":
            call()


def _calls(store: Store) -> dict[str, Callable[[], None]]:
    trial = StoreTrial(store)
    return {**store.probes(), **{name: getattr(trial, name) for name in trial.STEPS}}


def _tried(name: str, call: Callable[[], object]) -> CheckStep:
    began, note = time.perf_counter(), ""
    try:
        call()
    except AdaSDEError as error:
        note = str(error)
    spent = 1000 * (time.perf_counter() - began)
    return CheckStep(name, "failed" if note else "ok", spent, note)


class StoreTrial:
    """One object in a store that is written, read, listed and deleted, in this order."""

    STEPS = ("write", "read", "list", "delete")

    def __init__(self, store: Store) -> None:
        self.store, self.key = store, f"adasde-store-check-{secrets.token_hex(4)}"
        self.written = False

    def write(self) -> None:
        self.store.write(self.key, CONTENT)
        self.written = True

    def read(self) -> None:
        if self.store.read(self.key) != CONTENT:
            where = self.store.where(self.key)
            raise StoreError(f"{where} came back with other bytes than were written.", kind="checksum")

    def list(self) -> None:
        for _ in range(LISTINGS):
            if any(entry.key == self.key for entry in self.store.list(self.key)) or not self.written:
                return
            time.sleep(PAUSE)
        raise StoreError(
            f"{self.store.url} does not list an object that was just written. If the server lists with a "
            "delay, try again later; otherwise its log says more."
        )

    def delete(self) -> None:
        self.store.delete(self.key)
        if self.store.exists(self.key):
            raise StoreError(
                f"{self.store.where(self.key)} is still there after it was deleted. Check whether the bucket "
                "is protected against deletion (object lock, retention)."
            )
