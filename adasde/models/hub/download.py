"""Downloads: the files of cards on this machine, verified by the card or by checkpoints.lock."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from adasde.errors import CheckpointError, StoreError
from adasde.models.hub.cards import CardFile, ModelCard, PublishedCard
from adasde.models.hub.lockfile import Lock
from adasde.storage import local_copy
from adasde.storage.download import download
from adasde.storage.resolve import scheme
from adasde.utils.atomic_io import sha256_file

DOWNLOADS = "downloads"
"""The folder beside the checkpoint that keeps published files as they are."""


@dataclass(frozen=True)
class Downloads:
    """Published files in ``folder``/MODEL; ``project`` has the checkpoints.lock."""

    folder: Path
    project: Path

    @classmethod
    def beside(cls, checkpoint: str | os.PathLike[str], project: str | os.PathLike[str]) -> Self:
        """The downloads for the checkpoint folder ``checkpoint``."""
        return cls(Path(checkpoint).absolute().parent / DOWNLOADS, Path(project))

    def fetch_url(self, card: ModelCard, url: str, sha256: str | None = None) -> Path:
        """A file that ``card`` names besides its weights; as ``fetch``."""
        return self.fetch(card, CardFile(role="features", url=url, sha256=sha256, bytes=None))

    def fetch(self, card: PublishedCard, file: CardFile) -> Path:
        """The verified file, downloaded if it is not there. An unpublished hash is recorded on first use.

        Raises:
            CheckpointError: the file is not the one of the card, or has changed since it was first used.
            StoreError: it cannot be fetched.
        """
        lock, key = Lock(self.project), f"{card.name}/{file.name}"
        known = file.sha256 or lock.sha256(key)
        path = self.folder / card.name / file.name
        if not path.is_file():
            path = _download(key, file, path.parent, lock=lock, known=known)
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


def _download(key: str, file: CardFile, folder: Path, *, lock: Lock, known: str | None) -> Path:
    """The file, from the first of its addresses that has it."""
    if scheme(file.url) in ("http", "https"):
        try:
            return download(file.url, folder, sha256=known, mirrors=file.mirrors, show=f"fetch {file.name}")
        except StoreError as error:
            if error.kind == "checksum" and file.sha256 is None:
                raise lock.refused(key) from error
            raise
    folder.mkdir(parents=True, exist_ok=True)
    failures: list[StoreError] = []
    for address in (file.url, *file.mirrors):
        try:
            return local_copy(address, folder)
        except StoreError as error:
            failures.append(error)
    raise failures[0]
