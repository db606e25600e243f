"""Whether a store works, step by step, in a few seconds: what each took, and what to do where it does not."""

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
PROBES = ("endpoint", "credentials", "bucket")
LISTINGS, PAUSE = 5, 0.3
"""How often a new object is looked for in the listing, and seconds between: some servers list later."""


@dataclass(frozen=True)
class Step:
    """One thing that was tried.

    Attributes:
        milliseconds: that it took.
        note: why it failed and what to do, or why it was skipped.
    """

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    milliseconds: float = 0.0
    note: str = ""


def check(url: str | None = None) -> Iterator[Step]:
    """Try the settings, endpoint, credentials and bucket, then write, read, list and delete an object.

    ``url`` as in ``open_store``. A step that needs one that failed is skipped. A failure is a step, never
    an exception.
    """
    opened: list[Store] = []
    settings = _tried("settings", lambda: opened.append(open_store(url, patience=HASTY)))
    yield settings
    if not opened:
        names = (*PROBES, "write", "read", "list", "delete")
        yield from (Step(name, "skipped", note="settings failed") for name in names)
        return
    (store,) = opened
    failed = ""
    probes = store.probes()
    for name in PROBES:
        step = _after(failed, name, probes[name]) if name in probes else _not_needed(name)
        failed = failed or (name if step.outcome == "failed" else "")
        yield step
    yield from _use(store, failed)


def require_working(store: Store) -> None:
    """Try what ``check`` tries but listing, which may take long in a large folder.

    Raises:
        StoreError: the first thing that does not work; why, and what to do.
    """
    for probe in store.probes().values():
        probe()
    key = _new_key()
    store.write(key, CONTENT)
    _read(store, key)
    _delete(store, key)


def _new_key() -> str:
    return f"adasde-store-check-{secrets.token_hex(4)}"


def _use(store: Store, failed: str) -> Iterator[Step]:
    key = _new_key()
    write = _after(failed, "write", lambda: store.write(key, CONTENT))
    yield write
    unwritten = failed or ("write" if write.outcome == "failed" else "")
    yield _after(unwritten, "read", lambda: _read(store, key))
    yield _after(failed, "list", lambda: _list(store, key, expected=not unwritten))
    yield _after(unwritten, "delete", lambda: _delete(store, key))


def _after(failed: str, name: str, call: Callable[[], object]) -> Step:
    return Step(name, "skipped", note=f"{failed} failed") if failed else _tried(name, call)


def _not_needed(name: str) -> Step:
    return Step(name, "skipped", note="a folder needs none")


def _tried(name: str, call: Callable[[], object]) -> Step:
    began, note = time.perf_counter(), ""
    try:
        call()
    except AdaSDEError as error:
        note = str(error)
    spent = 1000 * (time.perf_counter() - began)
    return Step(name, "failed" if note else "ok", spent, note)


def _read(store: Store, key: str) -> None:
    if store.read(key) != CONTENT:
        raise StoreError(f"{store.where(key)} came back with other bytes than were written.", kind="checksum")


def _list(store: Store, key: str, *, expected: bool) -> None:
    """Look for the object among those that begin like it."""
    for _ in range(LISTINGS):
        if any(entry.key == key for entry in store.list(key)) or not expected:
            return
        time.sleep(PAUSE)
    raise StoreError(
        f"{store.url} does not list an object that was just written. If the server lists with a delay, "
        "try again later; otherwise its log says more."
    )


def _delete(store: Store, key: str) -> None:
    store.delete(key)
    if store.exists(key):
        raise StoreError(
            f"{store.where(key)} is still there after it was deleted. See whether the bucket is protected "
            "against deleting (object lock, retention)."
        )
