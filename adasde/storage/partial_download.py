"""A file on its way: what has come stays on disk, so that the next attempt carries on behind it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from adasde.errors import StoreError
from adasde.utils.atomic_io import write_text

SPARE = 16 << 20
"""Bytes of the disk that are left free."""


@dataclass(frozen=True)
class Origin:
    """What a part is a part of.

    Attributes:
        url: where it comes from.
        validator: the ETag or date of that version; empty: the server tells none.
        length: bytes of the whole; None: unknown.
        sha256: of the whole; empty: unknown.
    """

    url: str
    validator: str = ""
    length: int | None = None
    sha256: str = ""

    @property
    def can_resume(self) -> bool:
        """Whether a later answer can be told from one of another content."""
        return bool(self.validator or self.sha256)


class Part:
    """The file ``.NAME.part`` beside ``target``, and ``.NAME.part.json`` that says what it is a part of.

    Used as a context: the lock on it is held meanwhile. A process that finds it locked has one of its own.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path = target.with_name(f".{target.name}.part")
        self.stream = self._locked()
        self.origin = Origin("")
        self.size = 0
        self.digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if not self.size or not self.origin.can_resume:
            self.discard()
        self.stream.close()

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def _locked(self) -> BinaryIO:
        """The part, opened unbuffered and locked."""
        while True:
            stream = self.path.open("a+b", buffering=0)
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.path.exists() and os.fstat(stream.fileno()).st_ino == self.path.stat().st_ino:
                    return stream  # and not one that has just become the whole file
            except BlockingIOError:
                own = f".{self.target.name}.{os.getpid()}-{threading.get_ident()}.part"
                self.path = self.target.with_name(own)
            stream.close()

    def carry_on(self, url: str, *, sha256: str) -> None:
        """Take what an earlier attempt has left of the same content, hashed once; otherwise begin anew."""
        try:
            known = Origin(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            known = Origin("")
        if known.url == url and known.sha256 == sha256 and known.can_resume:
            self.origin = known
            self.stream.seek(0)
            while chunk := self.stream.read(1 << 20):
                self.digest.update(chunk)
                self.size += len(chunk)
            if known.length is None or self.size <= known.length:
                return
        self.begin(Origin(url, sha256=sha256))

    def begin(self, origin: Origin) -> None:
        """Throw away what has come; what comes now is of ``origin``."""
        self.origin, self.size, self.digest = origin, 0, hashlib.sha256()
        self.stream.truncate(0)
        if origin.can_resume and origin.length:
            write_text(self._note, json.dumps(asdict(origin)))
        else:
            self._note.unlink(missing_ok=True)

    def add(self, data: bytes) -> None:
        """Write what came next."""
        view = memoryview(data)
        while view:
            view = view[self.stream.write(view) :]
        self.digest.update(data)
        self.size += len(data)

    def require_space(self) -> None:
        """Refuse to go on where the disk is too small for the rest (StoreError)."""
        missing = (self.origin.length or 0) - self.size
        free = shutil.disk_usage(self.target.parent).free
        if missing + SPARE > free:
            raise StoreError(
                f"{self.origin.url} needs {missing / 1e6:.1f} MB more in {self.target.parent}, where "
                f"{free / 1e6:.1f} MB are free. Free some space, then run the same command again: it "
                "carries on where it stopped.",
                kind="space",
            )

    def finish(self) -> None:
        """Give it its name."""
        os.fsync(self.stream.fileno())
        self.path.replace(self.target)
        self.discard()

    def discard(self) -> None:
        """Remove what has come."""
        self.size = 0
        for path in (self.path, self._note):
            with suppress(OSError):
                path.unlink(missing_ok=True)
