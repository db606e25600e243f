"""Where images are kept: a folder or a bucket of PNGs, with a record of every piece that is whole.

A piece's record is written after its images, and holds their SHA-256: a killed run carries on behind it.
"""

from __future__ import annotations

import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from adasde.errors import DataError, StoreError
from adasde.storage import Store, open_store
from adasde.storage.resolve import scheme
from adasde.utils.atomic_io import atomic, sha256_file, sha256_json, write_json

RECORDS = ".records"
ABOUT = "about.json"
READERS = 16
"""Images of a bucket that are read at once."""


def file_of(seed: int) -> str:
    """A seed's PNG: sub-folders of a thousand, ``012000/012345.png``."""
    return f"{seed - seed % 1000:06d}/{seed:06d}.png"


def png(image: Tensor) -> bytes:
    """An image uint8 [C, H, W], of one or three channels, as a PNG."""
    from PIL import Image

    array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    stream = io.BytesIO()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(stream, "PNG")
    return stream.getvalue()


class Place(ABC):
    """A folder or a bucket of images.

    Attributes:
        name: how people call it.
    """

    name: str

    def add(self, seeds: list[int], images: Tensor) -> None:
        """Write a piece, images uint8 [len(seeds), C, H, W], and then its record."""
        data = {seed: png(image) for seed, image in zip(seeds, images, strict=True)}
        self._write({file_of(seed): content for seed, content in data.items()})
        record = {str(seed): hashlib.sha256(content).hexdigest() for seed, content in data.items()}
        self._write_json(f"{RECORDS}/{seeds[0]:06d}-{seeds[-1]:06d}-{sha256_json(seeds)[:8]}.json", record)

    def finished(self, seeds: Collection[int]) -> set[int]:
        """Those of ``seeds`` whose images are there as they were written: all are read and compared.

        What was altered or lost is to be made again; then it has two records, of which either counts.
        """
        known: dict[int, set[str]] = {}
        for record in self._records():
            for seed, sha256 in record.items():
                known.setdefault(int(seed), set()).add(sha256)
        asked = [seed for seed in seeds if seed in known]
        found = self._sha256s([file_of(seed) for seed in asked])
        return {seed for seed, sha256 in zip(asked, found, strict=True) if sha256 in known[seed]}

    def belongs(self, about: Mapping[str, Any]) -> None:
        """Note what the images are made from, where that is not known yet.

        Raises:
            DataError: the images that are there were made from something else.
        """
        before = self.about()
        if before is None:
            self._write_json(f"{RECORDS}/{ABOUT}", about)
        elif before != about:
            raise other_settings(self.name, before, about)

    def about(self) -> dict[str, Any] | None:
        """What the images are made from, if that is known."""
        name = f"{RECORDS}/{ABOUT}"
        return self._parsed(name) if name in self._names(RECORDS) else None

    def read(self, seeds: list[int]) -> Iterator[bytes]:
        """The PNGs of finished seeds."""
        return (self._read(file_of(seed)) for seed in seeds)

    @abstractmethod
    def _write(self, files: Mapping[str, bytes]) -> None: ...

    @abstractmethod
    def _write_json(self, name: str, value: Any) -> None: ...

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    @abstractmethod
    def _sha256s(self, names: Sequence[str]) -> list[str | None]: ...

    @abstractmethod
    def _names(self, folder: str) -> list[str]: ...

    def _parsed(self, name: str) -> Any:
        try:
            return json.loads(self._read(name))
        except ValueError:  # cut off by a crash
            return None

    def _records(self) -> list[dict[str, str]]:
        names = [name for name in self._names(RECORDS) if not name.endswith(ABOUT)]
        return [record for name in names if (record := self._parsed(name))]


def other_settings(name: str, before: Mapping[str, Any], about: Mapping[str, Any]) -> DataError:
    """The error for images made from ``before`` where ``about`` is wanted."""
    differing = sorted(key for key in {*before, *about} if before.get(key) != about.get(key))
    return DataError(
        f"{name} holds images of other settings ({', '.join(differing)} changed). Choose another --out, or "
        "remove what is there."
    )


class Folder(Place):
    """PNGs below a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            with atomic(self.path / name) as temporary:
                temporary.write_bytes(content)

    def _write_json(self, name: str, value: Any) -> None:
        write_json(self.path / name, value)

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {self.path / name}: {error.strerror}. Run this again.") from error

    def _sha256s(self, names: Sequence[str]) -> list[str | None]:
        return [sha256_file(path) if (path := self.path / name).is_file() else None for name in names]

    def _names(self, folder: str) -> list[str]:
        return sorted(f"{folder}/{path.name}" for path in (self.path / folder).glob("*.json"))


class Bucket(Place):
    """PNGs below an address of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = store.url

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            self.store.write(name, content)

    def _write_json(self, name: str, value: Any) -> None:
        self.store.write(name, json.dumps(value).encode())

    def _read(self, name: str) -> bytes:
        return self.store.read(name)

    def _sha256s(self, names: Sequence[str]) -> list[str | None]:
        with ThreadPoolExecutor(READERS, thread_name_prefix="images") as pool:
            return list(pool.map(self._sha256, names))

    def _sha256(self, name: str) -> str | None:
        try:
            return hashlib.sha256(self.store.read(name)).hexdigest()
        except StoreError as error:
            if error.kind in ("missing", "checksum"):
                return None
            raise

    def _names(self, folder: str) -> list[str]:
        return [entry.key for entry in self.store.list(f"{folder}/")]


def open_place(out: str) -> Place:
    """The place that ``out`` names, a folder or ``s3://bucket/prefix``; nothing is made yet.

    Raises:
        StoreError: an address that is none.
    """
    return Folder(Path(out)) if scheme(out) is None else Bucket(open_store(out))
