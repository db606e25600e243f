"""A folder as a store."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from adasde.errors import DataError
from adasde.storage.base import (
    SEALS,
    Entry,
    Store,
    altered,
    checked_key,
    copy_hashed,
    missing,
    of_this_machine,
    unsealed,
)
from adasde.utils.atomic_io import atomic, write_text
from adasde.utils.progress import Advance

TRIES, PAUSE = 5, 0.05
"""Readings of an object that somebody else replaces at the same time, and seconds between them."""

UNFINISHED = re.compile(r"\..+\.tmp")
"""Names of files that are being written."""


class LocalStore(Store):
    """Objects as files below a folder, their checksums in its hidden folder ``.sha256``.

    While an object is replaced its checksum file names the old and the new content, so that there is no
    moment, not even after a crash, at which a whole object is refused or a damaged one accepted.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.url = str(self.folder)

    def put(self, source: Path, key: str, *, progress: Advance | None = None) -> str:
        """Store a file (see ``Store``)."""
        return self._place(key, lambda temporary: copy_hashed(source, temporary, progress=progress))

    def write(self, key: str, data: bytes) -> None:
        """Store few bytes (see ``Store``)."""

        def fill(temporary: Path) -> str:
            temporary.write_bytes(data)
            return hashlib.sha256(data).hexdigest()

        self._place(key, fill)

    def get(
        self, key: str, target: Path, *, progress: Advance | None = None, unchecked: bool = False
    ) -> None:
        """Write an object to a file (see ``Store``)."""
        path = self._path(key)
        with _explained(f"get {self.where(key)}"), atomic(target) as temporary:

            def copy() -> str:
                return copy_hashed(path, temporary, progress=progress)

            self._verified(key, copy, unchecked=unchecked)

    def read(self, key: str) -> bytes:
        """The bytes of an object (see ``Store``)."""
        path, data = self._path(key), b""

        def load() -> str:
            nonlocal data
            data = path.read_bytes()
            return hashlib.sha256(data).hexdigest()

        with _explained(f"read {self.where(key)}"):
            self._verified(key, load, unchecked=False)
        return data

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """The objects whose keys begin with ``prefix`` (see ``Store``)."""
        found: dict[str, int] = {}
        with _explained(f"list {self.url}"):
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
        """Whether there is an object."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        path = self._path(key)
        with _explained(f"delete {self.where(key)}"), self._writing():
            path.unlink(missing_ok=True)
            self._seal(key).unlink(missing_ok=True)

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
        """One writer at a time, whichever process it is in."""
        path = self.folder / SEALS / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _place(self, key: str, fill: Callable[[Path], str]) -> str:
        """Put what ``fill(temporary)`` writes in the place of ``key``; both return its SHA-256."""
        path = self._path(key)
        with _explained(f"store {self.where(key)}"), ExitStack() as held:
            with atomic(path) as temporary:
                digest = fill(temporary)
                held.enter_context(self._writing())
                write_text(self._seal(key), "\n".join(dict.fromkeys([*self._known(key), digest])))
            write_text(self._seal(key), digest)
        return digest

    def _verified(self, key: str, load: Callable[[], str], *, unchecked: bool) -> None:
        """Call ``load`` until it returns the checksum that was stored; a replaced object is loaded again."""
        for last in [False] * (TRIES - 1) + [True]:
            try:
                found = load()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                if self._path(key).is_file():
                    raise
                raise missing(self.where(key)) from error
            known = self._known(key)
            if found in known or (unchecked and not known):
                return
            if last:
                raise altered(self.where(key), found, known[-1]) if known else unsealed(self.where(key))
            time.sleep(PAUSE)


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Turn what the system says into a StoreError that says what was being done."""
    try:
        yield
    except OSError as error:
        raise of_this_machine(error, doing) from error
    except DataError as error:
        cause = error.__cause__
        raise (of_this_machine(cause, doing) if isinstance(cause, OSError) else error) from error
