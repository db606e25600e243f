"""Opened checkpoints of other projects, brought to a family of this one: the registry of what knows how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.safe_pickle import Opened

__all__ = ["CONVERTERS", "Converted", "Converter", "Opened", "converted"]


@dataclass(frozen=True)
class Converted:
    """What a checkpoint folder of this project keeps: a ``family`` of ``adasde.models`` and its weights.

    Attributes:
        family: the name by which ``FAMILIES`` builds the network.
        about: what the family needs to build it; can be written as JSON.
        tensors: the state dict of that network.
    """

    family: str
    about: dict[str, Any]
    tensors: dict[str, Tensor]


Converter = Callable[[Opened], Converted]

CONVERTERS: dict[str, Converter] = {}
"""Family of a model card -> what converts its files. Converters raise CheckpointError, KeyError, TypeError,
ValueError or RuntimeError where a file is not what they know."""


def require(family: str) -> Converter:
    """What converts ``family`` (CheckpointError: nothing does)."""
    if family not in CONVERTERS:
        known = ", ".join(sorted(CONVERTERS)) or "none"
        raise CheckpointError(
            f"checkpoints of the family {family!r} cannot be converted; converters that are there: {known}. "
            "Install a version of adasde that knows this family."
        )
    return CONVERTERS[family]


def converted(family: str, opened: Opened) -> Converted:
    """``opened`` as a checkpoint of this project.

    Raises:
        CheckpointError: no converter knows ``family``, or the file does not fit it.
    """
    converter = require(family)
    try:
        return converter(opened)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the file is no checkpoint of the family {family!r}: {error!r}. Check that the card names the "
            "right file and family."
        ) from error
