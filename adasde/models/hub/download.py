"""Files of cards on this machine, verified by the card or by what was trusted before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from adasde.errors import CheckpointError, StoreError
from adasde.models.hub.lockfile import Lock
from adasde.storage import local_copy
from adasde.storage.download import download
from adasde.storage.resolve import scheme
from adasde.utils.atomic_io import sha256_file

if TYPE_CHECKING:
    from adasde.models.hub.cards import CardFile, ExtractorCard, ModelCard


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def brought(card: ModelCard | ExtractorCard, file: CardFile, *, folder: Path, lock: Lock) -> Path:
    """The file, verified by the card or by what was trusted before."""
    key = f"{card.name}/{file.name}"
    known = file.sha256 or lock.sha256(key)
    path = folder / file.name
    if not path.is_file():
        path = _copied(key, file, folder=folder, lock=lock, known=known)
    found = sha256_file(path)
    published = file.sha256 or file.sha256_begins or ""
    if not found.startswith(published):
        raise CheckpointError(
            f"{path} is not the file of the card {card.name!r}: its sha256 is {found[:12]}…, expected "
            f"{published[:12]}…. Delete it, then fetch again."
        )
    if known is not None and found != known:
        raise lock.refused(key, found=found)
    if file.sha256 is None and lock.remember(key, sha256=found, size=path.stat().st_size, url=file.url):
        print(
            f"trusted on first use: {key}, sha256 {found[:12]}…, now in {lock.path}; commit that file.",
            file=sys.stderr,
        )
    return path


def _copied(key: str, file: CardFile, *, folder: Path, lock: Lock, known: str | None) -> Path:
    """The file, from the first of its addresses that has it."""
    if scheme(file.url) in ("http", "https"):
        try:
            return download(file.url, folder, sha256=known, mirrors=file.mirrors, show=f"fetch {file.name}")
        except StoreError as error:
            if error.kind == "checksum" and file.sha256 is None:
                raise lock.refused(key) from error
            raise
    failures: list[StoreError] = []
    for address in (file.url, *file.mirrors):
        try:
            return local_copy(address, _made(folder))
        except StoreError as error:
            failures.append(error)
    raise failures[0]
