"""Registry of model families: how a card's network is built, and how a published file is converted.

Importing ``adasde.models`` registers every family of ``adasde.models.families``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import Card, Component
from adasde.models.safe_pickle import Opened

__all__ = ["CONVERTERS", "FAMILIES", "Converted", "Converter", "Opened", "converted", "register"]


@dataclass(frozen=True)
class Converted:
    """Content of a checkpoint folder: a registered ``family`` and its weights.

    Attributes:
        family: name under which the network's ``build`` is registered.
        about: what ``build`` needs; can be written as JSON.
        tensors: the state dict of that network.
    """

    family: str
    about: dict[str, Any]
    tensors: dict[str, Tensor]


Builder = Callable[[Card, Mapping[str, Any]], nn.Module]
Converter = Callable[[Opened], Converted]

FAMILIES: dict[str, Builder] = {}
"""Family -> ``build(card, about)``, the network without weights."""

CONVERTERS: dict[str, Converter] = {}
"""Family of a model card -> ``convert(opened)``. Converters raise CheckpointError, KeyError, TypeError,
ValueError or RuntimeError for files of another kind."""


def register(family: str, *, build: Builder | None = None, convert: Converter | None = None) -> None:
    """Register a family: ``build(card, about)`` makes its network, ``convert(opened)`` reads its files."""
    if build is not None:
        FAMILIES[family] = build
    if convert is not None:
        CONVERTERS[family] = convert


def network_of(card: Card, component: Component) -> nn.Module:
    """The network of one file of a checkpoint, without its weights.

    Raises:
        CheckpointError: the family is unknown.
    """
    if component.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"{card.name!r} is of the unknown family {component.family!r}; known: {known}.")
    return FAMILIES[component.family](card, component.about)


def require(family: str) -> Converter:
    """Converter of ``family`` (CheckpointError: there is none)."""
    if family not in CONVERTERS:
        known = ", ".join(sorted(CONVERTERS)) or "none"
        raise CheckpointError(
            f"checkpoints of the family {family!r} cannot be converted; registered converters: {known}. "
            "Install a version of adasde that knows this family."
        )
    return CONVERTERS[family]


def converted(family: str, opened: Opened) -> Converted:
    """``opened`` as a checkpoint of this project.

    Raises:
        CheckpointError: no converter knows ``family``, or the file does not fit it.
    """
    convert = require(family)
    try:
        return convert(opened)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the file is not a checkpoint of the family {family!r}: {error!r}. Check that the card names "
            "the right file and family."
        ) from error
