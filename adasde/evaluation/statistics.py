"""Reference statistics of the user's own images: a long walk that carries on where it was stopped."""

from __future__ import annotations

import json
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from adasde.errors import DataError
from adasde.evaluation.features import Summary, extractor_of
from adasde.evaluation.image_folder import ImageFiles
from adasde.evaluation.metrics import Statistics, image_features
from adasde.models.checkpoint import find, read_card
from adasde.models.families.ldm import stable
from adasde.models.hub import custom
from adasde.models.loading import load_model
from adasde.utils.atomic_io import atomic, sha256_json
from adasde.utils.progress import track

BATCH = 64  # images that are read and shown together
KEEP = 16  # batches after which the sums are written down


@dataclass
class Moments:
    """Sums over the features of the images seen, about the first of them (which keeps their digits).

    Attributes:
        count: images seen.
        centre: features of the first [F]; total, products: sums of the differences to it and of their outer
            products, [F] and [F, F].
    """

    count: int
    centre: np.ndarray
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def about(cls, centre: np.ndarray) -> Moments:
        """Nothing seen yet."""
        return cls(0, centre, np.zeros_like(centre), np.zeros((len(centre), len(centre))))

    def add(self, features: Tensor) -> None:
        """See ``features`` [n, F]."""
        values = features.double().numpy() - self.centre
        self.count += len(values)
        self.total += values.sum(axis=0)
        self.products += values.T @ values

    def statistics(self) -> Statistics:
        """Mean and covariance; DataError of fewer than two images."""
        if self.count < 2:
            raise DataError(f"statistics need at least 2 images; got {self.count}.")
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)
        return Statistics(self.centre + mean, covariance)

    def save(self, path: Path, mark: str) -> None:
        """Write the sums down; ``mark`` says of what."""
        with atomic(path) as temporary, temporary.open("wb") as stream:
            about = np.array(json.dumps([self.count, mark]))
            np.savez(stream, about=about, centre=self.centre, total=self.total, products=self.products)

    @classmethod
    def load(cls, path: Path, mark: str) -> Moments | None:
        """The sums that were written down of the same; None if there are none."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                count, found = json.loads(str(arrays["about"]))
                sums = [np.asarray(arrays[name], np.float64) for name in ("centre", "total", "products")]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return cls(int(count), *sums) if found == mark else None


def image_shape(checkpoint: str | os.PathLike[str]) -> tuple[int, ...]:
    """[C, H, W] of the images of a packaged model or checkpoint folder; a latent model's are decoded.

    Raises:
        CheckpointError: there is no such model, or its files are damaged.
    """
    card = read_card(find(checkpoint))
    if card.autoencoder is None and card.model.family not in (custom.LINKED, stable.STABLE):
        return card.shape
    import torch

    with torch.no_grad():
        return tuple(load_model(checkpoint).images(torch.zeros(1, *card.shape)).shape[1:])


def statistics_of(images: ImageFiles, checkpoint: str | os.PathLike[str], *, beside: Path) -> Statistics:
    """Statistics of all images by the extractor of ``checkpoint``; sums on the way lie beside ``beside``.

    Raises:
        CheckpointError: the extractor cannot be loaded.
        DataError: an image cannot be used, or nothing can be written.
    """
    extractor = extractor_of(checkpoint)
    mark = sha256_json([images.mark, extractor.sha256, list(images.shape)])
    kept = beside.with_name(f".{beside.name}.part")
    sums = Moments.load(kept, mark)
    if sums is None:
        sums = Moments.about(image_features(images.read(images.names[:1]), extractor)[0].numpy())
    with track(len(images.names), "reference", "images") as advance:
        advance(sums.count)
        starts = range(sums.count, len(images.names), BATCH)
        for number, start in enumerate(starts, 1):
            names = images.names[start : start + BATCH]
            sums.add(image_features(images.read(names), extractor))
            if number % KEEP == 0:
                sums.save(kept, mark)
            advance(len(names))
    result = sums.statistics()
    with suppress(OSError):
        kept.unlink(missing_ok=True)
    return result


def reference_of(data: str | os.PathLike[str], checkpoint: str | os.PathLike[str], *, out: Path) -> Summary:
    """Write the statistics of a folder or zip archive of images to ``out``, EDM's ``.npz``.

    Raises:
        CheckpointError: the model or its extractor cannot be loaded.
        DataError: an image cannot be used, or ``out`` cannot be written.
    """
    images = ImageFiles(data, shape=image_shape(checkpoint))
    sha256 = statistics_of(images, checkpoint, beside=out).save(out)
    return {"out": str(out), "images": len(images.names), "sha256": sha256}
