"""Images of the user: a folder or zip archive of PNG and JPEG files; archives are never unpacked."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adasde.errors import DataError
from adasde.utils.atomic_io import sha256_json

SUFFIXES = (".png", ".jpg", ".jpeg")
LARGEST = 1 << 28  # bytes per file
MODES = {1: ("1", "L", "P"), 3: ("1", "L", "P", "RGB")}
"""Channels of the model -> accepted image modes (Pillow's names)."""


class ImageFiles:
    """The images of ``path`` in the order of their names, without hidden files.

    Attributes:
        names: relative to the folder or as in the archive.
        mark: hash of names, sizes, and dates or checksums; it changes when a file changes.
    """

    def __init__(self, path: str | os.PathLike[str], *, shape: Sequence[int]) -> None:
        """``shape`` [C, H, W] is that of every image.

        Raises:
            DataError: there is no such folder or archive, it is damaged, or holds no images.
        """
        self.path, self.shape = Path(path), tuple(shape)
        self.archive: zipfile.ZipFile | None = None
        with self._readable():
            if self.path.is_dir():
                marks = {name: _mark(self.path / name) for name in _below(self.path)}
            else:
                self.archive = zipfile.ZipFile(self.path)
                marks = {one.filename: _checked(self.path, one) for one in self.archive.infolist()}
        wanted = {name: mark for name, mark in marks.items() if _is_image(name)}
        if not wanted:
            raise DataError(
                f"{self.path} holds no images: {', '.join(SUFFIXES)} files are read, also in folders below."
            )
        self.names = sorted(wanted)
        self.mark = sha256_json([[name, *wanted[name]] for name in self.names])

    def read(self, names: Sequence[str]) -> Tensor:
        """These images, uint8 [n, C, H, W].

        Raises:
            DataError: one is damaged, of another size, or of an unsupported mode.
        """
        return torch.stack([self._image(name) for name in names])

    def _image(self, name: str) -> Tensor:
        from PIL import Image

        channels, height, width = self.shape
        with self._readable(name), warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(self._bytes(name)), formats=("PNG", "JPEG")) as image:
                if image.size != (width, height):  # checked before decoding
                    raise DataError(
                        f"{self.path}: {name} has {image.size[0]}×{image.size[1]} pixels, the model's images "
                        f"{width}×{height}. Resize all images first; the method is part of your protocol."
                    )
                if image.mode not in MODES[channels]:
                    raise DataError(
                        f"{self.path}: {name} has the mode {image.mode!r}; a model of {channels} channels "
                        f"takes {', '.join(MODES[channels])}. Convert it first."
                    )
                values = np.array(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
        return torch.from_numpy(values.reshape(height, width, channels)).permute(2, 0, 1)

    def _bytes(self, name: str) -> bytes:
        return (self.path / name).read_bytes() if self.archive is None else self.archive.read(name)

    @contextmanager
    def _readable(self, name: str = "") -> Iterator[None]:
        """Turn any error of a damaged file into a DataError that names it."""
        try:
            yield
        except DataError:
            raise
        except FileNotFoundError as error:
            raise DataError(f"there is no folder or archive {self.path / name}.") from error
        except Exception as error:  # a damaged picture or archive can raise anything
            where = f"{self.path}: {name}" if name else f"{self.path}"
            raise DataError(
                f"{where} cannot be read as {'an image' if name else 'a folder or zip archive'} ({error})."
            ) from error


def _below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _is_image(name: str) -> bool:
    parts = Path(name).parts
    return name.lower().endswith(SUFFIXES) and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _mark(path: Path) -> list[int]:
    about = path.stat()
    if about.st_size > LARGEST:
        raise DataError(f"{path} has {about.st_size} bytes, too many for an image.")
    return [about.st_size, about.st_mtime_ns]


def _checked(archive: Path, member: zipfile.ZipInfo) -> list[int]:
    """Size and checksum of a member; DataError if it is encrypted or too large."""
    if member.flag_bits & 1:
        raise DataError(f"{archive}: {member.filename} is encrypted. Use an archive without encryption.")
    if member.file_size > LARGEST:
        raise DataError(f"{archive}: {member.filename} has {member.file_size} bytes, too many for an image.")
    return [member.file_size, member.CRC]
