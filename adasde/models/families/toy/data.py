"""The real images behind the bundled models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.families.toy.glyphs import REAL, glyphs
from adasde.utils.pixels import to_uint8


def digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's handwritten digits: images [1797, 1, 8, 8] float32 in [-1, 1], labels [1797] int64."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(np.asarray(data.images, dtype=np.float32) / 8 - 1)
    return images[:, None], torch.from_numpy(np.asarray(data.target, dtype=np.int64))


SOURCES: dict[str, Callable[[], Tensor]] = {
    "digits": lambda: digits()[0],
    "glyphs": lambda: glyphs(REAL)[0],
}
"""Name of a bundled model -> its real images, float32 in [-1, 1]."""


def real_images(name: str) -> Tensor:
    """The real images that the metrics of the bundled model ``name`` compare with, uint8 [n, C, H, W].

    Raises:
        CheckpointError: no real images belong to ``name``.
    """
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise CheckpointError(f"no real images come with the model {name!r}; the bundled ones are: {known}.")
    return to_uint8(SOURCES[name]())
