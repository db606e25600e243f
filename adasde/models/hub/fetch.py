"""Checkpoint folders from every source: fetched, verified, opened as data, converted."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import safetensors.torch

from adasde.errors import CheckpointError
from adasde.models.core import checkpoint
from adasde.models.core.checkpoint import (
    CARD,
    PROMPTS,
    Description,
    add_component,
    read_card,
    staged,
    verified,
)
from adasde.models.core.prompts import read_prompts
from adasde.models.core.registry import Opened, converted, require
from adasde.models.core.tokens import FAMILY, Tokens
from adasde.models.hub import cards
from adasde.models.hub.cards import CardFile, ExtractorCard, ModelCard, PublishedCard
from adasde.models.hub.custom import FILE, file_with_card, is_custom, is_file, write_link
from adasde.models.hub.download import Downloads
from adasde.models.loading import load_model
from adasde.models.safe_pickle import open_checkpoint, unpack
from adasde.storage import local_copy
from adasde.storage.resolve import local_path, scheme
from adasde.utils.atomic_io import write_text
from adasde.utils.progress import track

TOKENIZER, TOKENIZER_FILE = "tokenizer", "tokenizer.json"


def fetch(
    spec: str | ModelCard,
    out: str | os.PathLike[str],
    *,
    features: str | None = None,
    prompts: str | None = None,
    judges: Sequence[str] = (),
    name: str | None = None,
    project: str | os.PathLike[str] = ".",
) -> None:
    """Write the checkpoint ``spec`` into ``out``, completely or not at all; the card comes last.

    ``spec`` is a model card or its name; the name of a bundled checkpoint; a folder that holds one, or its
    address (``file://``, ``s3://``, ``https://``); or a custom model (see ``load_model``), then called
    ``name``. ``features``: an extractor card's name or a checkpoint, to replace the model's extractor.
    ``prompts``: a file, by default the model card's. ``judges``: names of evaluation networks.

    All files are compared with the SHA-256 of their card. Published files stay in ``downloads`` beside
    ``out`` and are used again; a hash that nobody published is recorded in the project's checkpoints.lock.

    Raises:
        CheckpointError: there is no such model, extractor or evaluation network, nothing converts its family,
            its files are damaged, harmful, changed or do not fit, or a network that needs prompts has none.
        StoreError: something cannot be reached.
        DataError: ``out`` cannot be written.
    """
    card = spec if isinstance(spec, ModelCard) else _card(spec)
    downloads = Downloads.beside(out, project)
    sources = [] if card is None else _sources(card)  # these two before anything is spent
    evaluators = [cards.evaluator_of(judge) for judge in judges]
    with staged(Path(out)) as folder:
        if card is not None:
            _add(sources, folder, downloads, description=_description(card))
            if prompts is None and card.prompts is not None:
                prompts = str(downloads.fetch_url(card, card.prompts))
        elif is_custom(str(spec)):
            _add_custom(str(spec), folder, name=name or str(spec))
        else:
            _copy(str(spec), folder)
        if features is not None:
            _add_features(features, folder, downloads)
        if prompts is not None:
            with TemporaryDirectory() as temporary:
                _add_prompts(read_prompts(local_copy(prompts, temporary)), folder, source=prompts)
        for evaluator in evaluators:
            _check_prompts(evaluator, folder)
            _add([evaluator], folder, downloads)


def reference_file(card: ModelCard, folder: Path, *, project: Path) -> Path:
    """The reference statistics of a card, in ``folder``/downloads; verified as the other files are.

    Raises:
        CheckpointError: the file has changed since it was first used.
        StoreError: it cannot be fetched.
    """
    assert card.reference is not None
    downloads = Downloads.beside(folder / "checkpoint", project)
    return downloads.fetch_url(card, card.reference.url, card.reference.sha256)


def _card(spec: str) -> ModelCard | None:
    return cards.card_of(spec) if scheme(spec) is None and spec in checkpoint.downloadable() else None


def _sources(card: ModelCard) -> list[PublishedCard]:
    """The cards whose files are needed; their converters are registered (CheckpointError: one is not)."""
    sources: list[PublishedCard] = [card]
    if card.features is not None:
        sources.append(cards.extractor_of(card.features))
    for source in sources:
        for file in source.files:
            if file.role != TOKENIZER:
                require(_family(source, file))
    return sources


def _description(card: ModelCard) -> Description:
    terms = f"{card.licence}. {card.terms} {card.terms_url}"
    return Description(card.name, card.data, terms, tuple(card.shape), card.sigma_min, card.sigma_max)


def _copy(spec: str, folder: Path) -> None:
    """Copy the checkpoint ``spec``, a name, a folder or an address, into ``folder``, verified."""
    if scheme(spec) in (None, "file"):
        source = checkpoint.find(spec if scheme(spec) is None else local_path(spec))
        for component in read_card(source).components.values():
            shutil.copyfile(verified(source, component), folder / component.file)
        shutil.copyfile(source / CARD, folder / CARD)
        return
    address = spec.rstrip("/")
    local_copy(f"{address}/{CARD}", folder)
    for component in read_card(folder).components.values():
        with track(component.bytes, f"fetch {component.file}", "bytes") as advance:
            url = f"{address}/{component.file}"
            local_copy(url, folder, sha256=component.sha256, progress=advance)


def _add_custom(spec: str, folder: Path, *, name: str) -> None:
    """Add a file with a card as it is; of a model that is code, a link."""
    if is_file(spec):
        path = Path(spec.removeprefix(FILE))
        card, _ = file_with_card(path)
        shutil.copyfile(path, folder / "model.safetensors")
        description = replace(card, name=name)
        add_component(folder, "model", card.model.family, card.model.about, description=description)
        return
    model = load_model(spec)
    write_link(folder, spec, model, name=name)
    if model.prompts:
        _add_prompts(model.prompts, folder, source=spec)


def _add_features(spec: str, folder: Path, downloads: Downloads) -> None:
    """Add the feature extractor of a card or of another checkpoint."""
    if spec in cards.extractor_names():
        extractor = cards.extractor_of(spec)
        if extractor.role in cards.EVALUATORS:
            raise CheckpointError(
                f"{spec!r} judges images beside the feature extractor: name it in params.yaml under judges."
            )
        _add([extractor], folder, downloads)
        return
    source = checkpoint.find(spec)
    card = read_card(source)
    if card.features is None:
        raise CheckpointError(f"the checkpoint {spec!r} has no feature extractor that could be taken.")
    shutil.copyfile(verified(source, card.features), folder / "features.safetensors")
    about = {"shape": list(card.shape), **card.features.about}
    add_component(folder, "features", card.features.family, about)


def _add_prompts(prompts: Sequence[str], folder: Path, *, source: str) -> None:
    write_text(folder / PROMPTS, "".join(f"{prompt}\n" for prompt in prompts))
    add_component(folder, "prompts", "prompts", {"count": len(prompts), "source": source}, file=PROMPTS)


def _check_prompts(evaluator: ExtractorCard, folder: Path) -> None:
    card = read_card(folder)
    if evaluator.role == "clip" and card.prompts is None:
        raise CheckpointError(
            f"{evaluator.name!r} compares images with their prompts, and {card.name!r} has none. Name a file "
            "of them in params.yaml (prompts: FILE), or leave it out of judges."
        )


def _add(
    sources: Sequence[PublishedCard],
    folder: Path,
    downloads: Downloads,
    *,
    description: Description | None = None,
) -> None:
    """Show the terms of the cards, then add all their files to the checkpoint in ``folder``."""
    print("\n".join(map(_terms, sources)), file=sys.stderr, flush=True)
    for source in sources:
        for file in source.files:
            path = downloads.fetch(source, file)
            if file.member is not None:
                path = _member(path, file.member)
            _convert(source, file, path, folder, description)


def _terms(card: PublishedCard) -> str:
    """The files that are fetched and the licence that the user agrees to."""
    sizes = [file.bytes for file in card.files]
    known = f"{sum(size or 0 for size in sizes) / 1e6:.0f} MB" if all(sizes) else "size not known"
    names = ", ".join(file.name for file in card.files)
    terms = f"licence: {card.licence}. {card.terms} {card.terms_url}"
    return f"{card.name}: {card.title}; {names} ({known})\n{terms}"


def _convert(
    card: PublishedCard, file: CardFile, path: Path, folder: Path, description: Description | None
) -> None:
    """Add the content of a downloaded file to the checkpoint in ``folder``."""
    if file.role == TOKENIZER:
        shutil.copyfile(path, folder / TOKENIZER_FILE)
        Tokens(folder / TOKENIZER_FILE, length=2)
        add_component(folder, TOKENIZER, FAMILY, {}, description=description, file=TOKENIZER_FILE)
        return
    opened = open_checkpoint(path, key=file.key)
    values = {**card.model_dump(mode="json"), "about": file.about}
    about = {**opened.about, "role": file.role, "card": values}
    made = converted(_family(card, file), Opened(opened.tensors, about))
    tensors = {name: value.detach().clone().contiguous() for name, value in made.tensors.items()}
    safetensors.torch.save_file(tensors, folder / f"{file.role}.safetensors")
    add_component(folder, file.role, made.family, made.about, description=description)


def _family(card: PublishedCard, file: CardFile) -> str:
    """The family whose converter reads the file."""
    return file.family or str(getattr(card, "family", None))


def _member(path: Path, member: str) -> Path:
    """A file of the archive ``path``, unpacked beside it."""
    wanted = path.with_suffix("") / member
    if not wanted.is_file():
        unpack(path, path.with_suffix(""))
    if not wanted.is_file():
        raise CheckpointError(f"{path} has no file {member!r}. Fetch it again, or check its content.")
    return wanted
