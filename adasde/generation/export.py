"""A folder of images as one file: a zip archive, an array, a grid; and several samplers side by side."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adasde.errors import DataError
from adasde.generation.sinks import Place, file_of
from adasde.utils.atomic_io import atomic

OLDEST = (1980, 1, 1, 0, 0, 0)
"""The time of every entry of an archive, so that equal images give equal archives."""


def pixels(content: bytes) -> np.ndarray:
    """A PNG as uint8 [H, W, C]."""
    from PIL import Image

    array = np.asarray(Image.open(io.BytesIO(content)))
    return array[:, :, None] if array.ndim == 2 else array


def as_zip(place: Place, seeds: Sequence[int], path: Path) -> None:
    """All PNGs in one archive, not compressed again."""
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.comment = json.dumps(place.about()).encode()
        for seed, content in zip(seeds, place.read(list(seeds)), strict=True):
            archive.writestr(zipfile.ZipInfo(file_of(seed), OLDEST), content)


def as_npz(place: Place, seeds: Sequence[int], path: Path) -> None:
    """``arr_0`` uint8 [n, H, W, C] as evaluation programs take it, and the ``seeds``."""
    images = np.stack([pixels(content) for content in place.read(list(seeds))])
    with atomic(path) as temporary, temporary.open("wb") as stream:
        about = np.array(json.dumps(place.about()))
        np.savez(stream, arr_0=images, seeds=np.array(seeds, dtype=np.uint64), about=about)


def packed(path: Path) -> tuple[dict[str, Any], set[int]]:
    """What the images of an archive of ours are made from, and their seeds.

    Raises:
        DataError: it is not such an archive.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return json.loads(str(arrays["about"])), set(arrays["seeds"].tolist())
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.comment), {int(Path(name).stem) for name in archive.namelist()}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is there, but is no archive of this program ({error}). Choose another --out."
        ) from error


def unpacked(source: Place | Path, seeds: Sequence[int]) -> list[np.ndarray]:
    """The images of ``seeds`` in a place or an archive of ours, each uint8 [H, W, C]."""
    if isinstance(source, Place):
        return [pixels(content) for content in source.read(list(seeds))]
    if source.suffix == ".npz":
        with np.load(source) as arrays:
            images, number = arrays["arr_0"], {seed: k for k, seed in enumerate(arrays["seeds"].tolist())}
            return [images[number[seed]] for seed in seeds]
    with zipfile.ZipFile(source) as archive:
        return [pixels(archive.read(file_of(seed))) for seed in seeds]


PACKERS: dict[str, Callable[[Place, Sequence[int], Path], None]] = {".zip": as_zip, ".npz": as_npz}
"""Suffix of ``--out`` -> what makes that file."""

COLUMNS, GRID = 8, 64
"""Images beside each other in a grid, and all of it at most."""


def as_grid(images: Sequence[np.ndarray], path: Path) -> None:
    """Images uint8 [H, W, C] as one picture, ``COLUMNS`` beside each other."""
    from PIL import Image

    from adasde.report.plots import contact_sheet

    shown, columns = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), min(COLUMNS, len(images))
    blank = torch.full((-len(shown) % columns, *shown.shape[1:]), 255, dtype=torch.uint8)
    rows = torch.cat([shown, blank]).split(columns)
    with atomic(path) as temporary:
        Image.fromarray(contact_sheet(list(rows))).save(temporary, "PNG")


def as_comparison(rows: Sequence[tuple[str, Tensor]], path: Path, *, title: str) -> None:
    """Samplers below each other, the same seeds in every column; ``rows``: (label, uint8 images)."""
    from adasde.report.plots import samples_figure, save_figure

    figure: Any = samples_figure(rows, title=title)
    save_figure(figure, path)
