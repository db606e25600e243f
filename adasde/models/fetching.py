"""From a model card to a checkpoint folder: fetched, verified, opened as data, converted."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adasde import checkpoints
from adasde.errors import CheckpointError, StoreError
from adasde.files import sha256_file
from adasde.foreign import Opened, open_checkpoint, unpack
from adasde.models import convert
from adasde.models.trust import Lock
from adasde.store import local_copy
from adasde.store.download import download
from adasde.store.opening import scheme

if TYPE_CHECKING:
    from adasde.catalogue import CardFile, ExtractorCard, ModelCard

DOWNLOADS = "downloads"
"""The folder beside the checkpoint in which the files stay as they came."""


def fetch(spec: str, out: str | os.PathLike[str], *, project: str | os.PathLike[str] = ".") -> None:
    """Write the checkpoint ``spec`` into ``out``: as ``checkpoints.fetch``, or that of a model card.

    Raises:
        CheckpointError, StoreError, DataError: as ``checkpoints.fetch``, or as ``fetch_card``.
    """
    if scheme(spec) is None and spec in checkpoints.downloadable():
        from adasde.catalogue import card_of

        fetch_card(card_of(spec), Path(out), project=Path(project))
    else:
        checkpoints.fetch(spec, out)


def fetch_card(card: ModelCard, out: Path, *, project: Path) -> None:
    """Fetch the files of a card, open them without running them, and write the checkpoint folder ``out``.

    The files stay in ``downloads`` beside ``out``; one that is there already is taken. Where nobody published
    the hash of a file, it is recorded in the project's checkpoints.lock, and holds from then on.

    Raises:
        CheckpointError: nothing here converts this family, a file is another one than it was, asks for a
            name that is not harmless, or does not fit.
        StoreError: a file cannot be fetched.
        DataError: ``out`` cannot be written.
    """
    from adasde.catalogue import extractor_of

    sources: list[ModelCard | ExtractorCard] = [card]
    if card.features is not None:
        sources.append(extractor_of(card.features))
    for file in (file for source in sources for file in source.files):  # before anything is spent
        convert.require(file.family or card.family)
    print("\n".join(map(told, sources)), file=sys.stderr, flush=True)
    folder = out.absolute().parent / DOWNLOADS
    lock = Lock(project)
    with TemporaryDirectory(dir=_made(out.absolute().parent), prefix=f".{out.name}-") as room:
        for source in sources:
            for file in source.files:
                path = _brought(source, file, folder=folder / source.name, lock=lock)
                _convert(card, file, path=path, room=Path(room))
        checkpoints.fetch(room, out)


def reference_file(card: ModelCard, folder: Path, *, project: Path) -> Path:
    """The reference statistics of a card, in ``folder``/downloads; trusted as the other files are.

    Raises:
        CheckpointError: it is another file than it was.
        StoreError: it cannot be fetched.
    """
    from adasde.catalogue import CardFile

    assert card.reference is not None
    about = card.reference
    file = CardFile(role="features", url=about.url, sha256=about.sha256, bytes=None)
    return _brought(card, file, folder=folder.absolute() / DOWNLOADS / card.name, lock=Lock(project))


def told(card: ModelCard | ExtractorCard) -> str:
    """What one agrees to, and what will be fetched."""
    sizes = [file.bytes for file in card.files]
    known = f"{sum(size or 0 for size in sizes) / 1e6:.0f} MB" if all(sizes) else "size not known"
    names = ", ".join(file.name for file in card.files)
    terms = f"licence: {card.licence}. {card.terms} {card.terms_url}"
    return f"{card.name}: {card.title}; {names} ({known})\n{terms}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _brought(card: ModelCard | ExtractorCard, file: CardFile, *, folder: Path, lock: Lock) -> Path:
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


def _convert(card: ModelCard, file: CardFile, *, path: Path, room: Path) -> None:
    """Add what a file holds to the checkpoint folder ``room``."""
    import safetensors.torch

    source = path if file.member is None else _member(path, file.member)
    opened = open_checkpoint(source, key=file.key)
    about: Mapping[str, Any] = {**opened.about, "role": file.role, "card": card.model_dump(mode="json")}
    made = convert.converted(file.family or card.family, Opened(opened.tensors, about))
    tensors = {name: value.detach().clone().contiguous() for name, value in made.tensors.items()}
    safetensors.torch.save_file(tensors, room / f"{file.role}.safetensors")
    head = {
        "name": card.name,
        "data": card.data,
        "license": f"{card.licence}. {card.terms} {card.terms_url}",
        "shape": card.shape,
        "sigma_min": card.sigma_min,
        "sigma_max": card.sigma_max,
    }
    checkpoints.write_part(room, file.role, {"family": made.family, "about": made.about}, head=head)


def _member(path: Path, member: str) -> Path:
    """A file of the archive ``path``, unpacked beside it."""
    wanted = path.with_suffix("") / member
    if not wanted.is_file():
        unpack(path, path.with_suffix(""))
    if not wanted.is_file():
        raise CheckpointError(f"{path} has no file {member!r}. Fetch it again, or see what it holds.")
    return wanted
