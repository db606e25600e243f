"""Image sinks: PNGs in a folder or a bucket, with a record of every batch that is complete.

The record of a batch is written after its images and holds their SHA-256, so that a killed run resumes there.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from torch import Tensor

from adasde.errors import DataError, StoreError
from adasde.storage import LocalStore, Store, open_store
from adasde.storage.resolve import scheme
from adasde.utils.atomic_io import atomic, sha256_json

RECORDS = ".records"
ABOUT = f"{RECORDS}/about.json"
READERS = 16
"""Images that are read at once."""


def file_of(seed: int) -> str:
    """Key of a seed's PNG, in sub-folders of a thousand: ``012000/012345.png``."""
    return f"{seed - seed % 1000:06d}/{seed:06d}.png"


def png(image: Tensor) -> bytes:
    """PNG of an image uint8 [C, H, W] with one or three channels."""
    from PIL import Image

    array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    stream = io.BytesIO()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(stream, "PNG")
    return stream.getvalue()


class ImageFolder(LocalStore):
    """A folder without checksum files beside the images: the sink's records hold the checksums."""

    def write(self, key: str, data: bytes) -> None:
        """Write a file atomically (DataError where the folder cannot be written)."""
        with atomic(self.folder / key) as temporary:
            temporary.write_bytes(data)

    def read(self, key: str) -> bytes:
        """The bytes of a file, unchecked (StoreError where there is none)."""
        path = self.folder / key
        try:
            return path.read_bytes()
        except OSError as error:
            kind = "other" if path.is_file() else "missing"
            raise StoreError(f"cannot read {path}: {error.strerror}. Run this again.", kind=kind) from error


class ImageSink:
    """The images of one setting in ``store``, for several writers at the same time."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def claim(self, about: Mapping[str, Any]) -> None:
        """Record what the images depend on beside their seeds.

        Raises:
            DataError: the store already holds images of other settings.
        """
        before = self.about()
        if before is None:
            self._write_json(ABOUT, about)
        elif before != about:
            raise other_settings(self.store.url, before, about)

    def about(self) -> dict[str, Any] | None:
        """The settings that ``claim`` recorded; None if there are none."""
        return self._json(ABOUT)

    def add(self, seeds: list[int], images: Tensor) -> None:
        """Write the images uint8 [len(seeds), C, H, W] of a batch, then its record."""
        files = {seed: png(image) for seed, image in zip(seeds, images, strict=True)}
        for seed, content in files.items():
            self.store.write(file_of(seed), content)
        record = {str(seed): hashlib.sha256(content).hexdigest() for seed, content in files.items()}
        self._write_json(f"{RECORDS}/{seeds[0]:06d}-{seeds[-1]:06d}-{sha256_json(seeds)[:8]}.json", record)

    def read(self, seeds: list[int]) -> Iterator[bytes]:
        """The PNGs of finished seeds."""
        return (self.store.read(file_of(seed)) for seed in seeds)

    def finished(self, seeds: Collection[int]) -> set[int]:
        """Those of ``seeds`` whose images are unchanged: every image is read and its SHA-256 compared.

        An image that was lost and drawn again is in two records, of which either counts.
        """
        known: dict[int, set[str]] = {}
        for entry in self.store.list(f"{RECORDS}/"):
            if entry.key.endswith(".json") and entry.key != ABOUT:
                for seed, sha256 in (self._json(entry.key) or {}).items():
                    known.setdefault(int(seed), set()).add(sha256)
        recorded = [seed for seed in seeds if seed in known]
        with ThreadPoolExecutor(READERS, thread_name_prefix="images") as pool:
            found = pool.map(self._sha256, recorded)
            return {seed for seed, sha256 in zip(recorded, found, strict=True) if sha256 in known[seed]}

    def _sha256(self, seed: int) -> str | None:
        content = self._read(file_of(seed), "missing", "checksum")
        return None if content is None else hashlib.sha256(content).hexdigest()

    def _read(self, key: str, *absent: str) -> bytes | None:
        """The bytes of an object; None after a StoreError whose kind is in ``absent``."""
        try:
            return self.store.read(key)
        except StoreError as error:
            if error.kind not in absent:
                raise
            return None

    def _json(self, key: str) -> Any:
        try:
            return json.loads(self._read(key, "missing") or b"")
        except ValueError:
            return None

    def _write_json(self, key: str, value: Any) -> None:
        self.store.write(key, (json.dumps(value, indent=1) + "\n").encode())


def other_settings(url: str, before: Mapping[str, Any], about: Mapping[str, Any]) -> DataError:
    """The error for images made from ``before`` where ``about`` is requested."""
    differing = sorted(key for key in {*before, *about} if before.get(key) != about.get(key))
    return DataError(
        f"{url} holds images of other settings ({', '.join(differing)} changed). Choose another --out, or "
        "remove what is there."
    )


def open_sink(out: str) -> ImageSink:
    """The sink at ``out``, a folder or ``s3://bucket/prefix``; nothing is written yet.

    Raises:
        StoreError: ``out`` is not such an address.
    """
    return ImageSink(ImageFolder(out) if scheme(out) is None else open_store(out))
