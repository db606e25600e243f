"""Numbers that other networks than the extractor give: the CLIP score and FD-DINOv2 (``judges``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from adasde.errors import CheckpointError, DataError
from adasde.evaluation.features import Features
from adasde.evaluation.metrics import Statistics, fid, image_features
from adasde.models.checkpoint import Card, Component, find, read_card, read_weights, verified
from adasde.models.conditioning import drawn
from adasde.models.families.vit.networks import Clip
from adasde.models.loading import build
from adasde.models.prompts import read_prompts
from adasde.models.tokens import Tokens
from adasde.utils.atomic_io import sha256_file
from adasde.utils.devices import default_device
from adasde.utils.pixels import to_float

DINO_STATISTICS = "dinov2.npz"
PART = 1000  # images or prompts at once


@dataclass(frozen=True)
class Distance:
    """FD-DINOv2 (Stein et al., 2306.04675): the Fréchet distance of DINOv2's features.

    ``said`` is all that the number depends on beside the images.
    """

    extractor: Features
    reference: Statistics
    said: str
    name: str = "fd_dinov2"

    def __call__(self, images: Tensor, seeds: Sequence[int]) -> float:
        return fid(image_features(images, self.extractor), self.reference)


@dataclass(frozen=True)
class Likeness:
    """The CLIP score (Hessel et al., 2104.08718): 100 times the cosine of image and prompt, at least 0.

    The image of a seed has the prompt ``pick(seed)`` of ``prompts``, counted round and round.
    """

    network: Clip
    tokens: Tokens
    prompts: Sequence[str]
    pick: Callable[[int], int]
    said: str
    name: str = "clip_score"

    @torch.no_grad()
    def __call__(self, images: Tensor, seeds: Sequence[int]) -> float:
        total = 0.0
        for start in range(0, len(images), PART):
            told = [self.prompts[self.pick(seed) % len(self.prompts)] for seed in seeds[start : start + PART]]
            said = self.network.text_features(self.tokens(told))
            seen = self.network.features(to_float(images[start : start + PART]))
            total += (said * seen).sum(1).clamp(min=0).double().sum().item()
        return 100 * total / len(images)


Further = Distance | Likeness
"""A number of uint8 images [n, C, H, W] of certain seeds."""


def further_of(checkpoint: Path, folder: Path, *, classes: str) -> list[Further]:
    """What ``checkpoint`` judges by beside its extractor; ``folder`` holds what the stage reference wrote.

    ``classes``: how an image's prompt is chosen, as in params.yaml.

    Raises:
        CheckpointError: a network cannot be loaded, or there are no prompts.
        DataError: there are no statistics of DINOv2 in ``folder``.
    """
    checkpoint = find(checkpoint)
    card = read_card(checkpoint)
    made: list[Further] = []
    if card.clip is not None:
        made.append(_likeness(card, card.clip, checkpoint, classes))
    if card.dinov2 is not None:
        path = folder / DINO_STATISTICS
        reference = Statistics.load(path)
        said = f"dinov2 {card.dinov2.sha256[:16]}; reference {sha256_file(path)[:16]}"
        made.append(Distance(_eyes(card, card.dinov2, checkpoint), reference, said))
    return made


def save_further(checkpoint: Path, folder: Path, real: Tensor | None) -> None:
    """Write what DINOv2 says of ``real`` images uint8 [n, C, H, W] into ``folder``, if it is asked.

    Raises:
        DataError: there are no images, or ``folder`` cannot be written.
    """
    checkpoint, path = find(checkpoint), folder / DINO_STATISTICS
    card = read_card(checkpoint)
    path.unlink(missing_ok=True)
    if card.dinov2 is not None:
        assert real is not None  # see check_further
        Statistics.of(image_features(real, _eyes(card, card.dinov2, checkpoint))).save(path)


def check_further(checkpoint: Path, real: Tensor | None) -> None:
    """Refuse (DataError) what cannot be judged, before anything is spent: FD-DINOv2 without real images."""
    if real is None and read_card(find(checkpoint)).dinov2 is not None:
        raise DataError(
            "FD-DINOv2 compares with real images, and there are statistics of another network alone. Name a "
            "folder or archive of images in params.yaml, evaluate.reference, or leave dinov2-vitl14 out of "
            "judges."
        )


def _likeness(card: Card, part: Component, folder: Path, classes: str) -> Likeness:
    if card.prompts is None or card.tokenizer is None:
        missing = "prompts" if card.prompts is None else "tokenizer"
        raise CheckpointError(
            f"the CLIP score compares images with their prompts, and the checkpoint {folder} has no "
            f"{missing}. Run 'adasde fetch' again."
        )
    network = cast(Clip, build(card, part, read_weights(folder, part)))
    tokens = Tokens(verified(folder, card.tokenizer), length=network.length)
    pick: Callable[[int], int] = (lambda seed: seed) if classes == "balanced" else drawn
    said = f"clip {part.sha256[:16]}; tokenizer {card.tokenizer.sha256[:16]}"
    return Likeness(network, tokens, read_prompts(verified(folder, card.prompts)), pick, said)


def _eyes(card: Card, part: Component, folder: Path) -> Features:
    device = default_device()
    network: Any = build(card, part, read_weights(folder, part)).to(device)
    return Features(network, name="dinov2", sha256=part.sha256, device=device)
