"""Tensors on disk as safetensors: written whole, the same bytes every time, errors in plain words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from adasde.errors import DataError
from adasde.utils.atomic_io import atomic


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors``; equal content gives equal bytes.

    Raises:
        DataError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def load_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a file; DataError (naming it) where it is missing or damaged."""
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def load_images(path: Path) -> Tensor:
    """The tensor ``images`` of a file, uint8 [n, C, H, W] (DataError where there is none)."""
    tensors = load_tensors(path)
    if "images" not in tensors:
        raise DataError(f"{path} has no tensor 'images'. Run the stage that makes it again.")
    return tensors["images"]


def damaged(path: str | os.PathLike[str], error: Exception) -> DataError:
    """What to say about a file of the pipeline that cannot be read."""
    if not Path(path).exists():
        return DataError(
            f"{path} does not exist. Run the stage that makes it first (adasde --help lists them)."
        )
    return DataError(f"{path} cannot be read ({error}). Delete it and run the stage that makes it again.")
