"""Tensors on disk as safetensors: atomic writes, reproducible bytes, errors with a remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adasde.errors import DataError
from adasde.utils.atomic_io import atomic

FINGERPRINT = "fingerprint"


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], *, fingerprint: str | None = None
) -> None:
    """Write ``tensors``, with a hash of what they depend on if given; equal content gives equal bytes.

    Raises:
        DataError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    metadata = None if fingerprint is None else {FINGERPRINT: fingerprint}
    data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def load_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a file (DataError if it is missing or damaged)."""
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def load_fitting(path: str | os.PathLike[str], fingerprint: str) -> dict[str, Tensor] | None:
    """All tensors of a file saved with ``fingerprint``; None if it is missing, damaged or has another."""
    try:
        with safe_open(path, "pt") as stream:
            fits = (stream.metadata() or {}).get(FINGERPRINT) == fingerprint
        return load_tensors(path) if fits else None
    except (OSError, SafetensorError, DataError):
        return None


def load_images(path: Path) -> Tensor:
    """The tensor ``images`` of a file, uint8 [n, C, H, W] (DataError if there is none)."""
    tensors = load_tensors(path)
    if "images" not in tensors:
        raise DataError(f"{path} has no tensor 'images'. Run the stage that makes it again.")
    return tensors["images"]


def damaged(path: str | os.PathLike[str], error: Exception) -> DataError:
    """The error for a file of the pipeline that cannot be read."""
    if not Path(path).exists():
        return DataError(
            f"{path} does not exist. Run the stage that makes it first (adasde --help lists them)."
        )
    return DataError(f"{path} cannot be read ({error}). Delete it and run the stage that makes it again.")
