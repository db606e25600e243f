"""The interface of every store, the keys of its objects, and several transfers in parallel."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from adasde.errors import StoreError
from adasde.storage.errors import altered, explained, unsealed
from adasde.utils.atomic_io import atomic, sha256_file
from adasde.utils.progress import Advance

WORKERS = 4
"""Files that ``put_many`` and ``get_many`` move in parallel."""

CHUNK = 1 << 20
"""Bytes read at once where a file is copied and hashed."""

REREAD_PAUSE = 0.05
"""Seconds before an object is read again whose checksum did not match."""

SEALS = ".sha256"
"""The hidden folder of checksums in a local store; no part of a key may have this name."""

MAX_KEY_BYTES = 1024
"""Length of the longest key in UTF-8 (the limit of S3)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """An object of a store and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True)
class Patience:
    """Attempts and timeouts of requests to a server.

    Attributes:
        attempts: of every request; it is repeated after 5xx, timeouts and broken connections.
        connect: seconds for a connection.
        read: seconds without a byte.
    """

    attempts: int = 6
    connect: float = 5.0
    read: float = 60.0

    def pause(self, attempt: int, asked: float | None = None) -> None:
        """Sleep 0.5, 1, 2, 4 ... seconds (20 at most) after ``attempt`` 0, 1, 2 ..., or ``asked`` seconds."""
        time.sleep(min(0.5 * 2**attempt, 20.0) if asked is None else asked)


PATIENT = Patience()
"""For long-running work."""


class Store(ABC):
    """Objects under keys, which are posix paths relative to ``url``.

    Objects appear complete and are verified when read: the SHA-256 of each is kept beside it, and one that
    another program altered is refused. Thread-safe. ``progress`` is called with numbers of bytes moved.

    Attributes:
        url: ``s3://bucket/prefix``, or the absolute path of a folder.

    Raises:
        StoreError: by every method that fails; it says what failed, why and what to do.
    """

    url: str
    readings = 1
    """Attempts to read an object whose checksum does not match, which may be in the middle of a change."""

    @abstractmethod
    def put(self, source: Path, key: str, *, progress: Advance | None = None) -> str:
        """Store a file, replacing the object under ``key``; returns its SHA-256 (hex)."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes, replacing the object under ``key``: readers see the old or the new object."""

    def get(
        self, key: str, target: Path, *, progress: Advance | None = None, unchecked: bool = False
    ) -> None:
        """Write an object to the file ``target``, which appears complete or stays as it was.

        ``unchecked`` accepts an object without a checksum, stored by another program.
        """
        checked_key(key)
        with self._explained("get", key), atomic(target) as temporary, temporary.open("wb") as file:
            self._receive(key, HashedFile(file, progress), unchecked=unchecked)

    def read(self, key: str) -> bytes:
        """The bytes of a small object."""
        buffer = io.BytesIO()
        with self._explained("read", checked_key(key)):
            self._receive(key, HashedFile(buffer))
        return buffer.getvalue()

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """The objects whose keys begin with the characters ``prefix``, ordered by key (bytes of UTF-8)."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is an object."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    def probes(self) -> Mapping[str, Callable[[], None]]:
        """Checks by name that come before all others: of the server; none for a folder."""
        return {}

    def where(self, key: str) -> str:
        """The full address of an object."""
        return f"{self.url}/{key}"

    def put_many(self, files: Mapping[str, Path], *, progress: Advance | None = None) -> dict[str, str]:
        """Store files by key, several in parallel; key -> SHA-256. The first failure stops the others."""
        return in_parallel(lambda key, advance: self.put(files[key], key, progress=advance), files, progress)

    def get_many(self, targets: Mapping[str, Path], *, progress: Advance | None = None) -> None:
        """Write objects by key to files, several in parallel. The first failure stops the others."""
        in_parallel(lambda key, advance: self.get(key, targets[key], progress=advance), targets, progress)

    @abstractmethod
    def _fetch(self, key: str, file: HashedFile) -> Sequence[str]:
        """Write an object to an empty file; returns the checksums that were stored with it."""

    def _explained(self, doing: str, key: str) -> AbstractContextManager[None]:
        return explained(f"{doing} {self.where(key)}")

    def _receive(self, key: str, hashed: HashedFile, *, unchecked: bool = False) -> None:
        for last in [False] * (self.readings - 1) + [True]:
            known = self._fetch(key, hashed)
            if hashed.sha256 in known or (unchecked and not known):
                return
            if last:
                where = self.where(key)
                raise altered(where, hashed.sha256, known[-1]) if known else unsealed(where)
            time.sleep(REREAD_PAUSE)
            hashed.restart()


class _Stopped(Exception):
    """Another transfer of the same call has failed."""


def in_parallel(
    work: Callable[[str, Advance], T], keys: Mapping[str, object], progress: Advance | None
) -> dict[str, T]:
    """``work(key, advance)`` for every key in ``WORKERS`` threads; the first failure is raised.

    ``advance`` may be called from all threads; after a failure it ends the transfers that still run.
    """
    lock, stop = threading.Lock(), threading.Event()

    def advance(units: int = 1, /, note: str = "") -> None:
        if stop.is_set():
            raise _Stopped
        if progress is not None:
            with lock:
                progress(units, note=note)

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="store") as pool:
        futures = {key: pool.submit(work, key, advance) for key in keys}
        try:
            for future in as_completed(futures.values()):
                future.result()
            return {key: future.result() for key, future in futures.items()}
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def checked_key(key: str) -> str:
    """``key`` itself, if it is valid.

    Raises:
        StoreError: it is empty, absolute, longer than ``MAX_KEY_BYTES``, not valid Unicode, or has empty
            parts, ``.``, ``..`` or ``SEALS`` among its parts, or control characters.
    """
    parts = key.split("/")
    checks = {
        "it is empty": not key,
        "it is absolute": key.startswith("/"),
        "a part of it is empty": "" in parts,
        "it has a part . or ..": bool({".", ".."} & set(parts)),
        f"{SEALS} is reserved": SEALS in parts,
        "it has control characters": any(ord(char) < 32 or 127 <= ord(char) < 160 for char in key),
        "it is not valid Unicode": any(0xD800 <= ord(char) < 0xE000 for char in key),
        f"it is longer than {MAX_KEY_BYTES} bytes": len(key.encode(errors="replace")) > MAX_KEY_BYTES,
    }
    wrong = next((reason for reason, fails in checks.items() if fails), None)
    if wrong:
        raise StoreError(
            f"{key!r} cannot be the key of a stored object: {wrong}. Use a relative path such as a/b.json.",
            kind="name",
        )
    return key


class HashedFile:
    """A file that is written from start to end, hashed and reported to ``progress`` meanwhile.

    It cannot seek, so boto3 writes the parts of an object in order, whichever arrives first.

    Attributes:
        size: bytes that it has.
    """

    def __init__(self, file: BinaryIO, progress: Advance | None = None) -> None:
        self._file, self._progress = file, progress
        self.size, self._digest = 0, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of what was written."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Write the next bytes."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._count(data)
        return len(data)

    def resume(self) -> None:
        """Continue behind the bytes that the file already has."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._count(chunk)

    def restart(self) -> None:
        """Remove what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._advance(-self.size)
        self._digest = hashlib.sha256()

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self._advance(len(data))

    def _advance(self, size: int) -> None:
        self.size += size
        if self._progress is not None and size:
            self._progress(size)


def require(path: Path, where: str, sha256: str) -> None:
    """Check the SHA-256 of a file with the content of ``where`` (StoreError if it is another)."""
    found = sha256_file(path)
    if found != sha256:
        raise altered(where, found, sha256)
