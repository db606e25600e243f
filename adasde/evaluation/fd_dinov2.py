"""FD-DINOv2 (Stein et al., 2306.04675): the Fréchet distance of DINOv2's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.errors import DataError
from adasde.evaluation.features import Features
from adasde.evaluation.metrics import Statistics, fid, image_features
from adasde.models.core.checkpoint import Card, Component, find, read_card, read_weights
from adasde.models.loading import build
from adasde.utils.atomic_io import sha256_file
from adasde.utils.devices import default_device

STATISTICS = "dinov2.npz"


@dataclass(frozen=True)
class FdDinov2:
    """Distance to ``reference``; ``description``: the files behind it, part of the protocol."""

    extractor: Features
    reference: Statistics
    description: str

    def __call__(self, images: Tensor, seeds: Sequence[int]) -> float:
        """The distance of uint8 images [n, C, H, W], whatever their seeds."""
        return fid(image_features(images, self.extractor), self.reference)


def load_fd_dinov2(checkpoint: Path, folder: Path) -> FdDinov2 | None:
    """FD-DINOv2 of a checkpoint folder; None if ``judges`` does not name DINOv2.

    ``folder`` holds the output of the stage ``reference``.

    Raises:
        CheckpointError: the network cannot be loaded.
        DataError: there are no statistics of DINOv2 in ``folder``.
    """
    card, path = read_card(checkpoint), folder / STATISTICS
    if card.dinov2 is None:
        return None
    reference = Statistics.load(path)
    description = f"dinov2 {card.dinov2.sha256[:16]}; reference {sha256_file(path)[:16]}"
    return FdDinov2(_extractor(card, card.dinov2, checkpoint), reference, description)


def save_dinov2_statistics(checkpoint: Path, folder: Path, real: Tensor | None) -> None:
    """Write the DINOv2 statistics of ``real`` images uint8 [n, C, H, W] into ``folder``, if they are needed.

    Raises:
        DataError: ``folder`` cannot be written.
    """
    checkpoint, path = find(checkpoint), folder / STATISTICS
    card = read_card(checkpoint)
    path.unlink(missing_ok=True)
    if card.dinov2 is not None:
        assert real is not None  # see check_dinov2
        Statistics.of(image_features(real, _extractor(card, card.dinov2, checkpoint))).save(path)


def check_dinov2(checkpoint: Path, real: Tensor | None) -> None:
    """Raise DataError if FD-DINOv2 is asked for without real images, before anything is computed."""
    if real is None and read_card(find(checkpoint)).dinov2 is not None:
        raise DataError(
            "FD-DINOv2 compares with real images, and there are statistics of another network alone. Name a "
            "folder or archive of images in params.yaml, evaluate.reference, or leave dinov2-vitl14 out of "
            "judges."
        )


def _extractor(card: Card, part: Component, folder: Path) -> Features:
    device = default_device()
    network: Any = build(card, part, read_weights(folder, part)).to(device)
    return Features(network, name="dinov2", sha256=part.sha256, device=device)
