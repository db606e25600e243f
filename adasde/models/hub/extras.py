"""What a project adds to a checkpoint: another feature extractor, and the prompts of its images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adasde.errors import CheckpointError
from adasde.models import checkpoint
from adasde.models.checkpoint import CARD, PROMPTS, ROLES
from adasde.models.prompts import read_prompts
from adasde.models.tokens import FAMILY, Tokens
from adasde.storage import local_copy
from adasde.utils.atomic_io import write_text

if TYPE_CHECKING:
    from adasde.models.hub.cards import ExtractorCard

TOKENIZER, TOKENIZER_FILE = "tokenizer", "tokenizer.json"


def head_of(folder: Path) -> dict[str, Any]:
    """The fields of a checkpoint's card that are not of one of its files."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    return {name: value for name, value in card.items() if name not in (*ROLES, "version")}


def take_features(folder: Path, spec: str) -> None:
    """Give the checkpoint in ``folder`` the feature extractor of the checkpoint ``spec``.

    Raises:
        CheckpointError: there is no such checkpoint, or it has none.
    """
    source = checkpoint.find(spec)
    card = checkpoint.read_card(source)
    part = card.features
    if part is None:
        raise CheckpointError(f"the checkpoint {spec!r} has no feature extractor that could be taken.")
    shutil.copyfile(checkpoint.verified(source, part), folder / "features.safetensors")
    about = {"family": part.family, "about": {"shape": list(card.shape), **part.about}}
    checkpoint.write_part(folder, "features", about, head=head_of(folder))


def add_tokenizer(folder: Path, source: Path, *, head: Mapping[str, Any]) -> None:
    """Make the file ``source``, CLIP's tokenizer, that of the checkpoint in ``folder``.

    Raises:
        CheckpointError: it is none.
    """
    path = folder / TOKENIZER_FILE
    shutil.copyfile(source, path)
    Tokens(path, length=2)
    part = {"family": FAMILY, "about": {}}
    checkpoint.write_part(folder, TOKENIZER, part, head=head, file=path.name)


def check_prompts(folder: Path, judge: ExtractorCard) -> None:
    """Refuse a judge of prompts (CheckpointError) where the checkpoint in ``folder`` has none."""
    card = checkpoint.read_card(folder)
    if judge.role == "clip" and card.prompts is None:
        raise CheckpointError(
            f"{judge.name!r} compares images with their prompts, and {card.name!r} has none. Name a file of "
            "them in params.yaml (prompts: FILE), or leave it out of judges."
        )


def add_prompts(folder: Path, source: str) -> None:
    """Write the prompts of ``source`` (a path or an address) into the checkpoint in ``folder``.

    Raises:
        CheckpointError: there are none, or they cannot be read.
        StoreError: they cannot be reached.
    """
    with TemporaryDirectory() as room:
        prompts = read_prompts(local_copy(source, room))
    write_prompts(folder, prompts, source=source)


def write_prompts(folder: Path, prompts: Sequence[str], *, source: str) -> None:
    """Make ``prompts`` those of the checkpoint in ``folder``; ``source`` says where they come from."""
    write_text(folder / PROMPTS, "".join(f"{prompt}\n" for prompt in prompts))
    about = {"family": "prompts", "about": {"count": len(prompts), "source": source}}
    checkpoint.write_part(folder, "prompts", about, head=head_of(folder), file=PROMPTS)
