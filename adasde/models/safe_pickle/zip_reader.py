"""Zip files: torch's own format, mapped into memory, and archives that are unpacked inside one folder."""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.safe_pickle.process import read_document, refused
from adasde.utils.atomic_io import atomic

MOST_FILES = 100_000
RATIO = 200
"""Largest size of an unpacked file, in sizes of the packed one; numbers hardly shrink at all."""

LARGEST = 64 * 2**30
"""Bytes of all the files of an archive together."""

DAMAGED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, KeyError, struct.error)
"""What reading a damaged archive raises."""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip file ``path``, whose sizes were checked.

    Raises:
        CheckpointError: it is no complete zip file, or would not stay within the limits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist())
            yield archive
    except DAMAGED as error:
        raise CheckpointError(f"{path} is not a complete zip file ({error}). Fetch it again.") from error


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    size = path.stat().st_size
    unpacked = sum(entry.file_size for entry in entries)
    grown = [
        entry
        for entry in entries
        if entry.file_size > (RATIO if entry.compress_type else 1) * max(entry.compress_size, 1)
    ]
    reasons = {
        f"it holds {len(entries)} files, more than {MOST_FILES}": len(entries) > MOST_FILES,
        "it holds two files of one name": len({entry.filename for entry in entries}) < len(entries),
        f"its files have {unpacked} bytes together, more than {LARGEST}": unpacked > LARGEST,
        "its files overlap": sum(entry.compress_size for entry in entries) > size,
        **{f"{e.filename!r} grows from {e.compress_size} to {e.file_size} bytes": True for e in grown[:1]},
    }
    wrong = [reason for reason, holds in reasons.items() if holds]
    if wrong:
        raise CheckpointError(f"{path} was refused: {wrong[0]}. Nothing was unpacked.")


def unpack(path: Path, folder: Path) -> list[Path]:
    """Unpack the zip file ``path`` into ``folder``; the files, in the archive's order.

    Raises:
        CheckpointError: it is no complete zip file, names a place outside the folder, holds links or other
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


def read_torch(path: Path, keys: Sequence[str]) -> Any:
    """The object in a file of ``torch.save``; its numbers stay in the file, mapped, until they are used.

    ``keys``: see ``read_document``.

    Raises:
        CheckpointError: it asks for something that is not harmless, holds code, or lies about sizes.
    """
    with opened(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        roots = {name.partition("/")[0] for name in archive.namelist()}
        if not any(name.rpartition("/")[2] == "data.pkl" for name in pickles):
            raise CheckpointError(f"{path} is an archive without weights of its own: unpack it first.")
        root = min(roots)
        if len(pickles) != 1 or len(roots) != 1 or pickles[0] != f"{root}/data.pkl":
            raise CheckpointError(
                f"{path} was refused: it holds {', '.join(sorted(pickles))[:200]} in place of one data.pkl, "
                "as programs in TorchScript do. Nothing was executed."
            )
        compressed = [e.filename for e in archive.infolist() if e.compress_type != zipfile.ZIP_STORED]
        if compressed:
            raise CheckpointError(f"{path} was refused: {compressed[0]} is compressed, as torch never does.")
        if f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") != b"little":
            raise CheckpointError(f"{path} holds numbers of another byte order. Save it on another machine.")
        file = mapped(path)

        def numbers(key: str, size: int) -> Tensor:
            entry = archive.getinfo(f"{root}/data/{key}")
            if size != entry.file_size:
                raise refused(f"has a storage of {size} bytes in {entry.file_size}: it lies about its size")
            return _content(file, entry)

        pickled = archive.read(pickles[0])
        return read_document(pickled, len(pickled), numbers, archive=True, keys=keys)


def mapped(path: Path) -> Tensor:
    """The bytes of a file, mapped into memory."""
    return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)


def _content(file: Tensor, entry: zipfile.ZipInfo) -> Tensor:
    """The bytes of an entry that is not compressed."""
    head = bytes(file[entry.header_offset : entry.header_offset + 30].tolist())
    if len(head) != 30 or head[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no entry where {entry.filename} should be")
    begin = entry.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
    if begin + entry.file_size > len(file):
        raise zipfile.BadZipFile(f"{entry.filename} is cut short")
    return file[begin : begin + entry.file_size]
