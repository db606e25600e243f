"""CLIP score (Hessel et al., 2104.08718): how well images match their prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import read_card, read_weights, verified
from adasde.models.core.conditioning import drawn
from adasde.models.core.prompts import read_prompts
from adasde.models.core.tokens import Tokens
from adasde.models.families.vit.networks import Clip
from adasde.models.loading import build
from adasde.utils.pixels import to_float

BATCH = 1000


@dataclass(frozen=True)
class ClipScore:
    """100 times the cosine between image and prompt, at least 0, the mean over the images.

    The image of a seed has the prompt number ``pick(seed)``, modulo their number. ``description``: the
    networks and files behind the score, part of the protocol.
    """

    network: Clip
    tokens: Tokens
    prompts: Sequence[str]
    pick: Callable[[int], int]
    description: str

    @torch.no_grad()
    def __call__(self, images: Tensor, seeds: Sequence[int]) -> float:
        """The score of uint8 images [n, C, H, W] of the ``seeds``."""
        total = 0.0
        for start in range(0, len(images), BATCH):
            prompts = [
                self.prompts[self.pick(seed) % len(self.prompts)] for seed in seeds[start : start + BATCH]
            ]
            texts = self.network.text_features(self.tokens(prompts))
            features = self.network.features(to_float(images[start : start + BATCH]))
            total += (texts * features).sum(1).clamp(min=0).double().sum().item()
        return 100 * total / len(images)


def load_clip_score(checkpoint: Path, *, classes: str) -> ClipScore | None:
    """The CLIP score of a checkpoint folder; None if ``judges`` does not name CLIP.

    ``classes``: how an image's prompt is chosen, as in params.yaml.

    Raises:
        CheckpointError: the network cannot be loaded, or there are no prompts.
    """
    card = read_card(checkpoint)
    if card.clip is None:
        return None
    if card.prompts is None or card.tokenizer is None:
        missing = "prompts" if card.prompts is None else "tokenizer"
        raise CheckpointError(
            f"the CLIP score compares images with their prompts, and the checkpoint {checkpoint} has no "
            f"{missing}. Run 'adasde fetch' again."
        )
    network = cast(Clip, build(card, card.clip, read_weights(checkpoint, card.clip)))
    tokens = Tokens(verified(checkpoint, card.tokenizer), length=network.length)
    pick: Callable[[int], int] = (lambda seed: seed) if classes == "balanced" else drawn
    description = f"clip {card.clip.sha256[:16]}; tokenizer {card.tokenizer.sha256[:16]}"
    return ClipScore(network, tokens, read_prompts(verified(checkpoint, card.prompts)), pick, description)
