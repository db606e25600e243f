"""From a model card to a checkpoint folder: fetched, verified, opened as data, converted."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.errors import CheckpointError
from adasde.models import checkpoint
from adasde.models.hub.download import brought
from adasde.models.hub.extras import (
    TOKENIZER,
    add_prompts,
    add_tokenizer,
    check_prompts,
    head_of,
    take_features,
    write_prompts,
)
from adasde.models.hub.linked import write_link
from adasde.models.hub.lockfile import Lock
from adasde.models.hub.own import FILE, file_with_card, is_file, is_own
from adasde.models.registry import Opened, converted, require
from adasde.models.safe_pickle import open_checkpoint, unpack
from adasde.storage.resolve import scheme

if TYPE_CHECKING:
    from adasde.models.hub.cards import CardFile, ExtractorCard, ModelCard

DOWNLOADS = "downloads"
"""The folder beside the checkpoint in which the files stay as they came."""


def fetch(
    spec: str,
    out: str | os.PathLike[str],
    *,
    features: str | None = None,
    prompts: str | None = None,
    judges: Sequence[str] = (),
    name: str | None = None,
    project: str | os.PathLike[str] = ".",
) -> None:
    """Write the checkpoint ``spec`` into ``out``; it is there as a whole or as it was before.

    ``spec`` is what ``checkpoints.fetch`` takes, a model card's name, or one of the user's own (see
    ``load_model``), then called ``name``. ``features``: another extractor than the model's, an extractor
    card's name or a checkpoint that has one. ``prompts``: a file of them, by default the model card's.
    ``judges``: names of further networks that images are judged by (see ``catalogue.judge_of``).

    Raises:
        CheckpointError: there is no such model, extractor or judge, its files are damaged or do not fit, or
            prompts are to be judged where there are none.
        StoreError: something cannot be reached.
        DataError: ``out`` cannot be written.
    """
    from adasde.models.hub.cards import judge_of

    path, card = Path(out), _card(spec)
    if card is None and not is_own(spec) and features is None and prompts is None and not judges:
        checkpoint.fetch(spec, path)
        return
    downloads = path.absolute().parent / DOWNLOADS
    wanted = [judge_of(judge) for judge in judges]  # before anything is spent
    with checkpoint.room_beside(path) as folder:
        room = Path(folder)
        if card is not None:
            _bring_card(card, room, downloads, project=Path(project))
        elif is_own(spec):
            _fetch_own(spec, room, name=name or spec)
        else:
            checkpoint.fetch(spec, room)
        if features is not None:
            _add_features(room, features, downloads, project=Path(project))
        if prompts is None and card is not None and card.prompts is not None:
            prompts = str(_beside(card, card.prompts, path.parent, project=Path(project)))
        if prompts is not None:
            add_prompts(room, prompts)
        _add_judges(room, wanted, downloads, project=Path(project))
        checkpoint.fetch(folder, path)


def _card(spec: str) -> ModelCard | None:
    from adasde.models.hub.cards import card_of

    return card_of(spec) if scheme(spec) is None and spec in checkpoint.downloadable() else None


def _fetch_own(spec: str, room: Path, *, name: str) -> None:
    """A file with a card becomes a checkpoint; what has code of its own stays where it is."""
    from adasde.models.loading import load_model

    if not is_file(spec):
        model = load_model(spec)
        write_link(room, spec, model, name=name)
        if model.prompts:
            write_prompts(room, model.prompts, source=spec)
        return
    path = Path(spec.removeprefix(FILE))
    card, _ = file_with_card(path)
    shutil.copyfile(path, room / "model.safetensors")
    head: dict[str, Any] = {"name": name, "data": card.data, "license": card.license}
    head |= {"shape": list(card.shape), "sigma_min": card.sigma_min, "sigma_max": card.sigma_max}
    about = {"family": card.model.family, "about": dict(card.model.about)}
    checkpoint.write_part(room, "model", about, head=head)


def _add_features(room: Path, spec: str, downloads: Path, *, project: Path) -> None:
    from adasde.models.hub.cards import JUDGES, extractor_names, extractor_of

    if spec not in extractor_names():
        take_features(room, spec)
        return
    extractor = extractor_of(spec)
    if extractor.role in JUDGES:
        raise CheckpointError(
            f"{spec!r} judges images beside the feature extractor: name it in params.yaml under judges."
        )
    _bring_extractor(extractor, room, downloads, project=project)


def _add_judges(room: Path, judges: Sequence[ExtractorCard], downloads: Path, *, project: Path) -> None:
    for judge in judges:
        check_prompts(room, judge)
        _bring_extractor(judge, room, downloads, project=project)


def _bring_extractor(extractor: ExtractorCard, room: Path, downloads: Path, *, project: Path) -> None:
    """Add the files of an extractor's card to the checkpoint in ``room``."""
    print(told(extractor), file=sys.stderr, flush=True)
    for file in extractor.files:
        path = brought(extractor, file, folder=downloads / extractor.name, lock=Lock(project))
        _convert(extractor, file, path=path, room=room, head=head_of(room))


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
    _sources(card)  # before anything is spent
    with checkpoint.room_beside(out) as folder:
        _bring_card(card, Path(folder), out.absolute().parent / DOWNLOADS, project=project)
        checkpoint.fetch(folder, out)


def _sources(card: ModelCard) -> list[ModelCard | ExtractorCard]:
    """The cards whose files are needed; their converters are there (CheckpointError: one is not)."""
    from adasde.models.hub.cards import extractor_of

    sources: list[ModelCard | ExtractorCard] = [card]
    if card.features is not None:
        sources.append(extractor_of(card.features))
    for source in sources:
        for file in source.files:
            if file.role != TOKENIZER:
                require(_family(source, file))
    return sources


def _bring_card(card: ModelCard, room: Path, downloads: Path, *, project: Path) -> None:
    """The checkpoint of a card in the folder ``room``."""
    sources = _sources(card)
    print("\n".join(map(told, sources)), file=sys.stderr, flush=True)
    lock, head = Lock(project), _head(card)
    for source in sources:
        for file in source.files:
            path = brought(source, file, folder=downloads / source.name, lock=lock)
            _convert(source, file, path=path, room=room, head=head)


def _head(card: ModelCard) -> dict[str, Any]:
    """What a checkpoint's card says besides its files."""
    return {
        "name": card.name,
        "data": card.data,
        "license": f"{card.licence}. {card.terms} {card.terms_url}",
        "shape": card.shape,
        "sigma_min": card.sigma_min,
        "sigma_max": card.sigma_max,
    }


def reference_file(card: ModelCard, folder: Path, *, project: Path) -> Path:
    """The reference statistics of a card, in ``folder``/downloads; trusted as the other files are.

    Raises:
        CheckpointError: it is another file than it was.
        StoreError: it cannot be fetched.
    """
    assert card.reference is not None
    return _beside(card, card.reference.url, folder, project=project, sha256=card.reference.sha256)


def _beside(card: ModelCard, url: str, folder: Path, *, project: Path, sha256: str | None = None) -> Path:
    """What a card names beside its weights, in ``folder``/downloads, trusted as these are."""
    from adasde.models.hub.cards import CardFile

    file = CardFile(role="features", url=url, sha256=sha256, bytes=None)
    return brought(card, file, folder=folder.absolute() / DOWNLOADS / card.name, lock=Lock(project))


def told(card: ModelCard | ExtractorCard) -> str:
    """What one agrees to, and what will be fetched."""
    sizes = [file.bytes for file in card.files]
    known = f"{sum(size or 0 for size in sizes) / 1e6:.0f} MB" if all(sizes) else "size not known"
    names = ", ".join(file.name for file in card.files)
    terms = f"licence: {card.licence}. {card.terms} {card.terms_url}"
    return f"{card.name}: {card.title}; {names} ({known})\n{terms}"


def _convert(
    card: ModelCard | ExtractorCard, file: CardFile, *, path: Path, room: Path, head: Mapping[str, Any]
) -> None:
    """Add what a file holds to the checkpoint folder ``room``."""
    import safetensors.torch

    source = path if file.member is None else _member(path, file.member)
    if file.role == TOKENIZER:
        add_tokenizer(room, source, head=head)
        return
    opened = open_checkpoint(source, key=file.key)
    said = {**card.model_dump(mode="json"), "about": file.about}
    about: Mapping[str, Any] = {**opened.about, "role": file.role, "card": said}
    made = converted(_family(card, file), Opened(opened.tensors, about))
    tensors = {name: value.detach().clone().contiguous() for name, value in made.tensors.items()}
    safetensors.torch.save_file(tensors, room / f"{file.role}.safetensors")
    checkpoint.write_part(room, file.role, {"family": made.family, "about": made.about}, head=head)


def _family(card: ModelCard | ExtractorCard, file: CardFile) -> str:
    """Which converter knows the file."""
    return file.family or str(getattr(card, "family", None))


def _member(path: Path, member: str) -> Path:
    """A file of the archive ``path``, unpacked beside it."""
    wanted = path.with_suffix("") / member
    if not wanted.is_file():
        unpack(path, path.with_suffix(""))
    if not wanted.is_file():
        raise CheckpointError(f"{path} has no file {member!r}. Fetch it again, or see what it holds.")
    return wanted
