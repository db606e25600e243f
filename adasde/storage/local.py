"""A folder as a store."""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from adasde.storage.base import CHUNK, SEALS, Entry, HashedFile, Store, checked_key
from adasde.storage.errors import explained, missing
from adasde.utils.atomic_io import atomic, write_text
from adasde.utils.progress import Advance

UNFINISHED = re.compile(r"\..+\.tmp")
"""Names of files that are being written."""


class LocalStore(Store):
    """Objects as files below a folder, their checksums in its hidden folder ``.sha256``.

    While an object is replaced its checksum file names the old and the new content. So at no moment, not
    even after a crash, is a complete object refused or a damaged one accepted.
    """

    readings = 5

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.url = str(self.folder)

    def put(self, source: Path, key: str, *, progress: Advance | None = None) -> str:
        with self._explained("store", checked_key(key)), source.open("rb") as reader:
            return self._place(key, reader, progress)

    def write(self, key: str, data: bytes) -> None:
        with self._explained("store", checked_key(key)):
            self._place(key, io.BytesIO(data))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        found: dict[str, int] = {}
        with explained(f"list {self.url}"):
            for folder, names, files in os.walk(self.folder):
                names[:] = [name for name in names if name != SEALS]
                for name in files:
                    path = Path(folder, name)
                    key = path.relative_to(self.folder).as_posix()
                    if key.startswith(prefix) and not UNFINISHED.fullmatch(name):
                        with suppress(FileNotFoundError):  # deleted since
                            found[key] = path.stat().st_size
        for key in sorted(found, key=os.fsencode):
            yield Entry(key, found[key])

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._explained("delete", key), self._writing():
            path.unlink(missing_ok=True)
            self._seal(key).unlink(missing_ok=True)

    def _fetch(self, key: str, file: HashedFile) -> Sequence[str]:
        path = self._path(key)
        try:
            with path.open("rb") as reader:
                shutil.copyfileobj(reader, file, CHUNK)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            if path.is_file():
                raise
            raise missing(self.where(key)) from error
        return self._known(key)

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)

    def _seal(self, key: str) -> Path:
        """The file with the SHA-256 of the object, one a line; two while it is being replaced."""
        return self.folder / SEALS / f"{key}{SEALS}"

    def _known(self, key: str) -> Sequence[str]:
        try:
            return self._seal(key).read_text(encoding="ascii").split()
        except FileNotFoundError:
            return ()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, of all processes."""
        path = self.folder / SEALS / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _place(self, key: str, source: BinaryIO, progress: Advance | None = None) -> str:
        """Put the bytes of ``source`` in the place of ``key``; returns their SHA-256."""
        with ExitStack() as held:
            with atomic(self._path(key)) as temporary:
                with temporary.open("wb") as file:
                    hashed = HashedFile(file, progress)
                    shutil.copyfileobj(source, hashed, CHUNK)
                held.enter_context(self._writing())
                seal = self._seal(key)
                write_text(seal, "\n".join(dict.fromkeys([*self._known(key), hashed.sha256])))
            write_text(seal, hashed.sha256)
        return hashed.sha256
