"""Atomic writes (to a temporary file, which is then renamed) and SHA-256 hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from adasde.errors import DataError


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place if the block succeeds.

    Raises:
        DataError: the folder cannot be written or the disk is full; ``path`` is left as it was.
    """
    target = Path(path)
    temporary = _temporary_name(target)
    try:
        _prepare_parent(target)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot write {target}: {reason}. Nothing was left behind; "
            "free some space or make the folder writable, then run the same command again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new folder beside ``path``, on the same disk; it is removed after the block.

    Raises:
        OSError: it cannot be made.
    """
    target = Path(path).absolute()
    folder = _temporary_name(target)
    try:
        _prepare_parent(target)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")


def _prepare_parent(target: Path) -> None:
    """Make the parent of ``target``, and remove what killed processes have left of it there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    start = f".{target.name}."
    with os.scandir(target.parent) as entries:
        left = [e for e in entries if e.name.startswith(start) and e.name.endswith(".tmp")]
    for entry in left:
        pid = entry.name.removeprefix(start).partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            remove = shutil.rmtree if entry.is_dir(follow_symlinks=False) else os.unlink
            with suppress(OSError):
                remove(entry.path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) so that readers see either the old or the new file."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinities are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of the bytes of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
