"""Reference statistics of the user's own images; a run that is killed resumes."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adasde.errors import DataError
from adasde.evaluation.features import extractor_of
from adasde.evaluation.image_folder import ImageFiles
from adasde.evaluation.metrics import Statistics, image_features
from adasde.models.core.checkpoint import find, read_card
from adasde.models.families.ldm import stable
from adasde.models.hub import custom
from adasde.models.loading import load_model
from adasde.types import Summary
from adasde.utils.atomic_io import sha256_json
from adasde.utils.progress import track
from adasde.utils.safetensors_io import load_fitting, save_tensors

BATCH = 64  # images read at once
KEEP = 16  # batches between two saves of the sums


@dataclass
class Moments:
    """Sums over the features of images, relative to the first of them for precision.

    Attributes:
        count: number of images.
        centre: features of the first image [F].
        total: sum of the differences to ``centre`` [F].
        products: sum of the outer products of the differences [F, F].
    """

    count: int
    centre: np.ndarray
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def about(cls, centre: np.ndarray) -> Moments:
        """Sums over no images yet."""
        return cls(0, centre, np.zeros_like(centre), np.zeros((len(centre), len(centre))))

    def add(self, features: Tensor) -> None:
        """Add ``features`` [n, F]."""
        values = features.double().numpy() - self.centre
        self.count += len(values)
        self.total += values.sum(axis=0)
        self.products += values.T @ values

    def statistics(self) -> Statistics:
        """Mean and covariance (DataError for fewer than two images)."""
        if self.count < 2:
            raise DataError(f"statistics need at least 2 images; got {self.count}.")
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)
        return Statistics(self.centre + mean, covariance)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the sums; ``fingerprint`` is a hash of the images and the extractor."""
        tensors = {name: torch.as_tensor(value) for name, value in vars(self).items()}
        save_tensors(path, tensors, fingerprint=fingerprint)

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> Moments | None:
        """The sums that were saved with ``fingerprint``; None if there are none."""
        tensors = load_fitting(path, fingerprint)
        if tensors is None:
            return None
        return cls(int(tensors.pop("count")), **{name: value.numpy() for name, value in tensors.items()})


def image_shape(checkpoint: str | os.PathLike[str]) -> tuple[int, ...]:
    """Shape [C, H, W] of the (decoded) images of a packaged model or checkpoint folder.

    Raises:
        CheckpointError: there is no such model, or its files are damaged.
    """
    card = read_card(find(checkpoint))
    if card.autoencoder is None and card.model.family not in (custom.LINKED, stable.STABLE):
        return card.shape
    with torch.no_grad():
        return tuple(load_model(checkpoint).images(torch.zeros(1, *card.shape)).shape[1:])


def statistics_of(images: ImageFiles, checkpoint: str | os.PathLike[str], *, beside: Path) -> Statistics:
    """Statistics of all images by the extractor of ``checkpoint``; partial sums are kept next to ``beside``.

    Raises:
        CheckpointError: the extractor cannot be loaded.
        DataError: an image cannot be used, or the sums cannot be saved.
    """
    extractor = extractor_of(checkpoint)
    fingerprint = sha256_json([images.mark, extractor.sha256, list(images.shape)])
    kept = beside.with_name(f".{beside.name}.part")
    sums = Moments.load(kept, fingerprint)
    if sums is None:
        sums = Moments.about(image_features(images.read(images.names[:1]), extractor)[0].numpy())
    with track(len(images.names), "reference", "images") as advance:
        advance(sums.count)
        starts = range(sums.count, len(images.names), BATCH)
        for number, start in enumerate(starts, 1):
            names = images.names[start : start + BATCH]
            sums.add(image_features(images.read(names), extractor))
            if number % KEEP == 0:
                sums.save(kept, fingerprint)
            advance(len(names))
    result = sums.statistics()
    with suppress(OSError):
        kept.unlink(missing_ok=True)
    return result


def reference_of(data: str | os.PathLike[str], checkpoint: str | os.PathLike[str], *, out: Path) -> Summary:
    """Write the statistics of a folder or zip archive of images to ``out`` in EDM's ``.npz`` format.

    Raises:
        CheckpointError: the model or its extractor cannot be loaded.
        DataError: an image cannot be used, or ``out`` cannot be written.
    """
    images = ImageFiles(data, shape=image_shape(checkpoint))
    sha256 = statistics_of(images, checkpoint, beside=out).save(out)
    return {"out": str(out), "images": len(images.names), "sha256": sha256}
