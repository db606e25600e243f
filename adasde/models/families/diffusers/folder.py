"""The files of a pipeline: where they are, that they hold nothing but data, and their hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adasde.errors import CheckpointError
from adasde.models.core.libraries import short
from adasde.utils.atomic_io import sha256_file, sha256_json
from adasde.utils.progress import track

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
IGNORED = ("safety_checker",)  # of a library of its own, and never loaded
WANTED = ["*.json", "*.txt", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"]
"""What is fetched from the hub: no pickles, no code, no second copy of the weights in one file."""


def folder_of(source: str) -> Path:
    """The folder of ``source``, a path or the hub's id of a pipeline (then fetched into the hub's cache).

    ``HF_HUB_OFFLINE=1`` keeps to what is in the cache; ``HF_ENDPOINT`` names another hub.

    Raises:
        CheckpointError: neither a folder with a pipeline nor an id that can be fetched.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise CheckpointError(
            f"there is no pipeline in {source!r}: it is no folder. Give the folder that "
            "pipe.save_pretrained(FOLDER) wrote, or the id OWNER/NAME of a pipeline at the Hugging Face hub."
        )
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(source, allow_patterns=WANTED, ignore_patterns=["*.fp16.*"]))
    except Exception as error:  # the hub has dozens of them
        raise CheckpointError(
            f"the pipeline {source!r} is no folder and cannot be fetched from the Hugging Face hub: "
            f"{short(error)}"
        ) from error


def checked_index(folder: Path) -> dict[str, Any]:
    """The pipeline's table of contents, ``model_index.json``.

    Raises:
        CheckpointError: there is none, or it asks for classes of other libraries or of code beside it.
    """
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        kind = index["_class_name"]
        parts = {name: value for name, value in index.items() if isinstance(value, list)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} holds no pipeline of diffusers: its {INDEX} cannot be read ({error!r})."
        ) from error
    foreign = [
        name
        for name, value in parts.items()
        if name not in IGNORED and (len(value) != 2 or value[0] not in (*LIBRARIES, None))
    ]
    if not isinstance(kind, str) or foreign:
        what = f"the classes of {', '.join(foreign)}" if foreign else f"the pipeline {kind!r}"
        raise CheckpointError(
            f"{path} asks for code that comes with the weights ({what}), which is not executed. Only classes "
            "of diffusers and transformers are used."
        )
    return index


def weights_hash(folder: Path, index: dict[str, Any]) -> str:
    """Hex SHA-256 over the names and hashes of the weights of all components."""
    names = [name for name, value in index.items() if isinstance(value, list) and name not in IGNORED]
    files = sorted(file for name in names for file in (folder / name).glob("*.safetensors"))
    hashes = []
    with track(sum(file.stat().st_size for file in files), f"check {folder.name}", "bytes") as advance:
        for file in files:
            hashes.append([file.relative_to(folder).as_posix(), sha256_file(file)])
            advance(file.stat().st_size)
    return sha256_json(hashes)
