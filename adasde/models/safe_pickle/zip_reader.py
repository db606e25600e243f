"""Zip files: torch's own format, mapped into memory, and archives that are unpacked inside one folder."""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.safe_pickle.allowlist import storage_of
from adasde.models.safe_pickle.stubs import Name, refuse
from adasde.models.safe_pickle.vm import load
from adasde.utils.atomic_io import atomic

MOST_FILES = 100_000
RATIO = 200
"""Largest size of an unpacked file, in sizes of the packed one; numbers hardly shrink at all."""

LARGEST = 64 * 2**30
"""Bytes of all the files of an archive together."""

LONGEST_PICKLE = 256 * 2**20
"""Bytes of the pickle of an archive of torch's; the numbers are beside it."""

DAMAGED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, KeyError, struct.error)
"""What reading a damaged archive raises."""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip file ``path``, whose sizes were checked.

    Raises:
        CheckpointError: it is no whole zip file, or would not stay within the limits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist())
            yield archive
    except DAMAGED as error:
        raise CheckpointError(f"{path} is not a whole zip file ({error}). Fetch it again.") from error


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    size = path.stat().st_size
    unpacked = sum(entry.file_size for entry in entries)
    names = {entry.filename for entry in entries}
    wrong = (
        f"it holds {len(entries)} files, more than {MOST_FILES}"
        if len(entries) > MOST_FILES
        else "it holds two files of one name"
        if len(names) < len(entries)
        else f"its files have {unpacked} bytes together, more than {LARGEST}"
        if unpacked > LARGEST
        else "its files overlap"
        if sum(entry.compress_size for entry in entries) > size
        else next(
            (
                f"{entry.filename!r} grows from {entry.compress_size} to {entry.file_size} bytes"
                for entry in entries
                if entry.file_size > RATIO * max(entry.compress_size, 1)
            ),
            "",
        )
    )
    if wrong:
        raise CheckpointError(f"{path} was refused: {wrong}. Nothing was unpacked.")


def unpack(path: Path, folder: Path) -> list[Path]:
    """Unpack the zip file ``path`` into ``folder``; the files, in the archive's order.

    Raises:
        CheckpointError: it is no whole zip file, names a place outside the folder, holds links or other
            special files, or would not stay within the limits. Nothing is unpacked then.
        DataError: ``folder`` cannot be written.
    """
    with opened(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        targets = [folder / _inside(path, entry) for entry in entries]
        for entry, target in zip(entries, targets, strict=True):
            with atomic(target) as temporary, archive.open(entry) as reader, temporary.open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
        return targets


def _inside(path: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """The name of an entry, if it is one below the folder and a plain file (CheckpointError)."""
    mode = entry.external_attr >> 16
    special = stat.S_IFMT(mode) not in (0, stat.S_IFREG)
    name = entry.filename
    parts = name.split("/")
    outside = name.startswith("/") or "\\" in name or ":" in parts[0] or {"", ".", ".."} & set(parts)
    if special or outside or not name.isprintable():
        why = "is a link or a special file" if special else "lies outside the folder"
        raise CheckpointError(f"{path} was refused: its entry {name!r} {why}. Nothing was unpacked.")
    return PurePosixPath(name)


def is_torch(path: Path) -> bool:
    """Whether the zip file ``path`` is one of torch's."""
    with opened(path) as archive:
        return any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())


def read_torch(path: Path, find: Callable[[str], Name]) -> Any:
    """The object in a file of ``torch.save``; its numbers stay in the file, mapped, until they are used.

    Raises:
        CheckpointError: it asks for something that is not harmless, holds code, or lies about sizes.
    """
    with opened(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        roots = {name.partition("/")[0] for name in archive.namelist()}
        if len(pickles) != 1 or len(roots) != 1 or pickles[0] != f"{min(roots)}/data.pkl":
            raise CheckpointError(
                f"{path} was refused: it holds {', '.join(sorted(pickles))[:200]} in place of one data.pkl, "
                "as programs in TorchScript do. Nothing was executed."
            )
        storages = _Mapped(path, archive, min(roots))
        entry = archive.getinfo(pickles[0])
        if entry.file_size > LONGEST_PICKLE:
            raise CheckpointError(f"{path} was refused: its pickle has {entry.file_size} bytes.")
        with archive.open(entry) as stream:
            return load(stream, find, size=entry.file_size, persistent=storages.claim)


class _Mapped:
    """The storages of one of torch's zip files: parts of the file, mapped into memory."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, root: str) -> None:
        order = f"{root}/byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise CheckpointError(f"{path} holds numbers of another byte order. Save it on another machine.")
        self.archive, self.root, self.path = archive, root, path
        self.bytes = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
        self.claimed: dict[str, Tensor] = {}

    def claim(self, pid: Any) -> Tensor:
        """The flat tensor that a persistent id names."""
        key, dtype, count = storage_of(pid)
        if key not in self.claimed:
            begin, size = self._place(f"{self.root}/data/{key}")
            if size != count * dtype.itemsize:
                raise refuse(f"has a storage of {count} numbers in {size} bytes: it lies about its size")
            part = self.bytes[begin : begin + size]
            self.claimed[key] = (part if begin % dtype.itemsize == 0 else part.clone()).view(dtype)
        return self.claimed[key]

    def _place(self, name: str) -> tuple[int, int]:
        """(first byte, bytes) of an entry in the file."""
        entry = self.archive.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"{self.path} was refused: {name} is compressed, as torch never does.")
        head = bytes(self.bytes[entry.header_offset : entry.header_offset + 30].tolist())
        if len(head) != 30 or head[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"no entry where {name} should be")
        named, extra = struct.unpack("<HH", head[26:30])
        begin = entry.header_offset + 30 + named + extra
        if begin + entry.file_size > self.bytes.numel():
            raise zipfile.BadZipFile(f"{name} is cut short")
        return begin, entry.file_size
