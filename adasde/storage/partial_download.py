"""A file that is being downloaded: received bytes stay on disk, so that the next attempt resumes there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from adasde.errors import StoreError
from adasde.storage.base import HashedFile
from adasde.utils.atomic_io import write_text
from adasde.utils.progress import Advance

SPARE = 16 << 20
"""Bytes of the disk that are left free."""


@dataclass(frozen=True)
class Origin:
    """Source of a partial file.

    Attributes:
        url: its address.
        validator: ETag or date of the version; empty: the server sends none.
        length: bytes of the complete file; None: unknown.
        sha256: of the complete file; empty: unknown.
    """

    url: str
    validator: str = ""
    length: int | None = None
    sha256: str = ""

    @property
    def can_resume(self) -> bool:
        """Whether a later answer with other content would be noticed."""
        return bool(self.validator or self.sha256)


class PartialFile:
    """The file ``.NAME.part`` beside ``target``, and ``.NAME.part.json`` with its origin.

    As a context it is locked; a process that finds it locked writes one of its own. ``progress`` is called
    with numbers of bytes received and, negative, discarded.
    """

    def __init__(self, target: Path, progress: Advance | None = None) -> None:
        self.target, self.origin = target, Origin("")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path = target.with_name(f".{target.name}.part")
        self.stream = self._locked()
        self.content = HashedFile(self.stream, progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if not self.size or not self.origin.can_resume:
            self.discard()
        self.stream.close()

    @property
    def size(self) -> int:
        """Bytes received."""
        return self.content.size

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def _locked(self) -> BinaryIO:
        """The partial file, opened unbuffered and locked."""
        while True:
            stream = self.path.open("a+b", buffering=0)
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.path.exists() and os.fstat(stream.fileno()).st_ino == self.path.stat().st_ino:
                    return stream  # not a file that was renamed to its target meanwhile
            except BlockingIOError:
                own = f".{self.target.name}.{os.getpid()}-{threading.get_ident()}.part"
                self.path = self.target.with_name(own)
            stream.close()

    def resume(self, url: str, *, sha256: str) -> None:
        """Keep what an earlier attempt received of the same content, hashed once; otherwise begin anew."""
        try:
            known = Origin(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            known = Origin("")
        if known.url == url and known.sha256 == sha256 and known.can_resume:
            self.origin = known
            self.content.resume()
            if known.length is None or self.size <= known.length:
                return
        self.begin(Origin(url, sha256=sha256))

    def begin(self, origin: Origin) -> None:
        """Discard the received bytes; the next ones are from ``origin``."""
        self.content.restart()
        self.origin = origin
        if origin.can_resume and origin.length:
            write_text(self._note, json.dumps(asdict(origin)))
        else:
            self._note.unlink(missing_ok=True)

    def require_space(self) -> None:
        """Check that the disk has space for the rest (StoreError)."""
        needed = (self.origin.length or 0) - self.size
        free = shutil.disk_usage(self.target.parent).free
        if needed + SPARE > free:
            raise StoreError(
                f"{self.origin.url} needs {needed / 1e6:.1f} MB more in {self.target.parent}, where "
                f"{free / 1e6:.1f} MB are free. Free some space, then run the same command again: it "
                "resumes where it stopped.",
                kind="space",
            )

    def finish(self) -> None:
        """Rename it to its target."""
        os.fsync(self.stream.fileno())
        self.path.replace(self.target)
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it."""
        for path in (self.path, self._note):
            with suppress(OSError):
                path.unlink(missing_ok=True)
