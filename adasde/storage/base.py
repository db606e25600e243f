"""What every store can do, what its keys look like, and several transfers side by side."""

from __future__ import annotations

import errno
import hashlib
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from adasde.errors import StoreError
from adasde.utils.atomic_io import sha256_file
from adasde.utils.progress import Advance

WORKERS = 4
"""Files of ``put_many`` and ``get_many`` that are under way at once."""

CHUNK = 1 << 20
"""Bytes read at once where a file is copied and hashed."""

SEALS = ".sha256"
"""The hidden folder of a local store; no part of a key may be called so."""

LONGEST = 1024
"""Bytes of the longest key, UTF-8 (the limit of S3)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """An object of a store and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        attempts: of every request: repeated after 5xx, timeouts and broken connections, the pause before
            a repetition random below 1, 2, 4, 8 ... seconds (20 at most).
        connect: seconds for a connection.
        read: seconds without a byte.
    """

    attempts: int = 6
    connect: float = 5.0
    read: float = 60.0

    def pause(self, attempt: int) -> None:
        """Sleep before the next attempt."""
        time.sleep(random.random() * min(2**attempt, 20))


PATIENT = Patience()
"""For work that goes on for a while."""


class Store(ABC):
    """Objects under keys: posix paths relative to ``url``. Each is written whole and verified when read.

    The SHA-256 of an object is kept beside it; what was altered by somebody else is refused. Safe in
    threads. ``progress`` is called with the number of bytes that were moved.

    Attributes:
        url: ``s3://bucket/prefix``, or the absolute path of a folder.

    Raises:
        StoreError: by every method, where the store cannot do it; says what, why and what to do.
    """

    url: str

    @abstractmethod
    def put(self, source: Path, key: str, *, progress: Advance | None = None) -> str:
        """Store a file, in place of what was there; returns its SHA-256 (hex)."""

    @abstractmethod
    def get(
        self, key: str, target: Path, *, progress: Advance | None = None, unchecked: bool = False
    ) -> None:
        """Write an object to the file ``target``, which appears whole or stays as it was.

        ``unchecked`` accepts an object without a checksum: one that another program has stored.
        """

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Store few bytes, in place of what was there: readers see the old object or the new one."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The bytes of an object, for small ones."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """The objects whose keys begin with the characters ``prefix``, ordered by key (bytes of UTF-8)."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is an object."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def probes(self) -> Mapping[str, Callable[[], None]]:
        """What must work before anything else, each by a name; nothing of that kind for a folder."""
        return {}

    def where(self, key: str) -> str:
        """The full address of an object."""
        return f"{self.url}/{key}"

    def put_many(self, files: Mapping[str, Path], *, progress: Advance | None = None) -> dict[str, str]:
        """Store files by key, several at once; key -> SHA-256. The first failure stops the others."""

        def one(key: str, advance: Advance) -> str:
            return self.put(files[key], key, progress=advance)

        return side_by_side(one, files, progress=progress)

    def get_many(self, targets: Mapping[str, Path], *, progress: Advance | None = None) -> None:
        """Write objects by key to files, several at once. The first failure stops the others."""

        def one(key: str, advance: Advance) -> None:
            self.get(key, targets[key], progress=advance)

        side_by_side(one, targets, progress=progress)


class Stopped(Exception):
    """Another transfer of the same call has failed."""


def side_by_side(
    work: Callable[[str, Advance], T], keys: Mapping[str, object], *, progress: Advance | None
) -> dict[str, T]:
    """``work(key, advance)`` for every key in ``WORKERS`` threads; the first failure is raised.

    ``advance`` may be called from all threads; it ends the transfers that are under way after a failure.
    """
    lock, stop = threading.Lock(), threading.Event()

    def advance(units: int = 1, /, note: str = "") -> None:
        if stop.is_set():
            raise Stopped
        if progress is not None:
            with lock:
                progress(units, note=note)

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="store") as pool:
        futures = {key: pool.submit(work, key, advance) for key in keys}
        try:
            done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
            failed = [error for future in done if (error := future.exception()) is not None]
            if failed:
                raise next((error for error in failed if not isinstance(error, Stopped)), failed[0])
            return {key: future.result() for key, future in futures.items()}
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def checked_key(key: str) -> str:
    """``key`` itself, if it is one.

    Raises:
        StoreError: it is empty, absolute, longer than ``LONGEST`` bytes, has empty parts, ``.``, ``..``
            or ``SEALS`` among its parts, control characters, or what UTF-8 cannot write.
    """
    parts = key.split("/")
    wrong = (
        "it is empty"
        if not key
        else "it is absolute"
        if key.startswith("/")
        else "a part of it is empty"
        if "" in parts
        else "it has a part . or .."
        if {".", ".."} & set(parts)
        else f"{SEALS} is reserved"
        if SEALS in parts
        else "it has control characters"
        if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in key)
        else ""
    )
    try:
        wrong = wrong or (f"it is longer than {LONGEST} bytes" if len(key.encode()) > LONGEST else "")
    except UnicodeEncodeError:
        wrong = "it is not valid Unicode"
    if wrong:
        raise StoreError(
            f"{key!r} cannot be the key of a stored object: {wrong}. Use a relative path such as a/b.json.",
            kind="name",
        )
    return key


def copy_hashed(source: Path, target: Path, *, progress: Advance | None = None) -> str:
    """Copy the bytes of a file and return their SHA-256 (OSError where a file cannot be read or written)."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            writer.write(chunk)
            digest.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()


def altered(where: str, found: str, known: str) -> StoreError:
    """The error for an object whose SHA-256 is ``found`` where ``known`` was stored with it."""
    return StoreError(
        f"{where} is damaged or was altered by another program: its sha256 is {found[:12]}…, but "
        f"{known[:12]}… was stored with it. Nothing was taken from it: store the object again.",
        kind="checksum",
    )


def require(path: Path, where: str, sha256: str) -> None:
    """Refuse a file, the content of ``where``, whose SHA-256 is another one (StoreError)."""
    found = sha256_file(path)
    if found != sha256:
        raise altered(where, found, sha256)


def unsealed(where: str) -> StoreError:
    """The error for an object that has no checksum."""
    return StoreError(
        f"{where} has no checksum: another program stored it, or replaced what was there. Nothing was taken "
        "from it: store the object again with adasde.",
        kind="checksum",
    )


def missing(where: str) -> StoreError:
    """The error for an object that is not there."""
    return StoreError(
        f"{where} is not there. Check the name, and the storage that it is looked for in (storage.url in "
        "params.yaml, or ADASDE_STORAGE_URL).",
        kind="missing",
    )


def of_this_machine(cause: OSError, doing: str) -> StoreError:
    """The error for what the system refused; ``doing`` completes "cannot ..."."""
    full = cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    named = f" ({cause.filename})" if cause.filename else ""
    remedy = "free some space" if full else "repair that"
    return StoreError(
        f"cannot {doing}: {cause.strerror or cause}{named}. What was there before is kept; {remedy}, then "
        "run the same command again.",
        kind="space" if full else "other",
    )
