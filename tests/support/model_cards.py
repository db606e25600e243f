"""Model cards of tests, and the files that they name."""

from __future__ import annotations

import io
from typing import Any

import torch

from adasde.models.hub.cards import ModelCard, card_of

PUBLISHED = {
    ("cifar10", 3): (3, 0.02, 20, 0.05, 0.2, 0.2, 32),
    ("cifar10", 5): (3, 0.01, 50, 0.05, 0.2, 0.2, 64),
    ("cifar10", 7): (3, 0.01, 20, 0.1, 0.2, 0.1, 32),
    ("cifar10", 9): (2, 0.01, 20, 0.1, 0.2, 0.1, 32),
    ("ffhq", 3): (4, 0.02, 50, 0.05, 0.2, 0.1, 32),
    ("ffhq", 5): (3, 0.02, 50, 0.05, 0.2, 0.1, 32),
    ("ffhq", 9): (3, 0, 50, 0.05, 0.2, 0.1, 32),
    ("imagenet64", 9): (3, 0.02, 50, 0.05, 0.2, 0.2, 32),
    ("ms_coco", 5): (3, 0.001, 20, 0.05, 0.2, 0.01, 32),
}
"""M, gamma_max, alpha, scale_dir, scale_time, lr and batch, as the authors published them."""


def saved(tensors: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(tensors, stream)
    return stream.getvalue()


def card(*files: dict[str, Any], **changes: Any) -> ModelCard:
    """A card of the toy family; addresses without TLS are for tests alone."""
    values = (
        card_of("cifar10").model_dump() | {"name": "toy-model", "family": "toy", "features": None} | changes
    )
    made = [{"role": "model", "sha256": None, "bytes": None} | file for file in files]
    known = [file | {"url": "https://x/x", "mirrors": ()} for file in made]
    whole = ModelCard.model_validate(values | {"files": known})
    chosen = tuple(
        part.model_copy(update={"url": file["url"], "mirrors": file.get("mirrors", ())})
        for part, file in zip(whole.files, made, strict=True)
    )
    return whole.model_copy(update={"files": list(chosen)})
