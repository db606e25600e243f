"""Images in one file: a zip archive, an array, a grid, or a comparison of samplers."""

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
from adasde.generation.sinks import ImageSink, file_of
from adasde.utils.atomic_io import atomic

OLDEST = (1980, 1, 1, 0, 0, 0)
"""The time of every entry of an archive, so that equal images give equal archives."""

COLUMNS, GRID = 8, 64
"""Images in a row of a grid, and in all of it at most."""


def pixels(content: bytes) -> np.ndarray:
    """Array uint8 [H, W, C] of a PNG."""
    from PIL import Image

    array = np.asarray(Image.open(io.BytesIO(content)))
    return array[:, :, None] if array.ndim == 2 else array


def as_zip(sink: ImageSink, seeds: Sequence[int], path: Path) -> None:
    """Write the PNGs into one archive, without further compression."""
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.comment = json.dumps(sink.about()).encode()
        for seed, content in zip(seeds, sink.read(list(seeds)), strict=True):
            archive.writestr(zipfile.ZipInfo(file_of(seed), OLDEST), content)


def as_npz(sink: ImageSink, seeds: Sequence[int], path: Path) -> None:
    """Write ``arr_0`` uint8 [n, H, W, C], as evaluation programs expect it, and the ``seeds``."""
    images = np.stack([pixels(content) for content in sink.read(list(seeds))])
    with atomic(path) as temporary, temporary.open("wb") as stream:
        about = np.array(json.dumps(sink.about()))
        np.savez(stream, arr_0=images, seeds=np.array(seeds, dtype=np.uint64), about=about)


PACKERS: dict[str, Callable[[ImageSink, Sequence[int], Path], None]] = {".zip": as_zip, ".npz": as_npz}
"""Suffix of ``--out`` -> the function that writes such a file."""


def packed(path: Path) -> tuple[dict[str, Any], set[int]]:
    """The settings of an archive's images, and their seeds.

    Raises:
        DataError: ``as_zip`` or ``as_npz`` did not write it.
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


def unpacked(source: ImageSink | Path, seeds: Sequence[int]) -> list[np.ndarray]:
    """The images of ``seeds`` in a sink or an archive, each uint8 [H, W, C]."""
    if isinstance(source, ImageSink):
        return [pixels(content) for content in source.read(list(seeds))]
    if source.suffix == ".npz":
        with np.load(source) as arrays:
            images, index = arrays["arr_0"], {seed: k for k, seed in enumerate(arrays["seeds"].tolist())}
            return [images[index[seed]] for seed in seeds]
    with zipfile.ZipFile(source) as archive:
        return [pixels(archive.read(file_of(seed))) for seed in seeds]


def as_grid(images: Sequence[np.ndarray], path: Path) -> None:
    """Write images uint8 [H, W, C] as one picture, ``COLUMNS`` in a row."""
    from PIL import Image

    from adasde.report.plots import contact_sheet

    shown, columns = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), min(COLUMNS, len(images))
    blank = torch.full((-len(shown) % columns, *shown.shape[1:]), 255, dtype=torch.uint8)
    with atomic(path) as temporary:
        sheet = contact_sheet(torch.cat([shown, blank]).split(columns))
        Image.fromarray(sheet).save(temporary, "PNG")


def as_comparison(rows: Sequence[tuple[str, Tensor]], path: Path, *, title: str) -> None:
    """Write one row of images a sampler, the same seeds in every column; ``rows``: (label, uint8 images)."""
    from adasde.report.plots import samples_figure, save_figure

    save_figure(samples_figure(rows, title=title), path)
