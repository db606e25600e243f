"""What a predictor's file says of its model: data set, range of noise levels, guidance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import find, read_card

if TYPE_CHECKING:
    from adasde.models.hub.cards import ModelCard

EDM_RANGE = (0.002, 80.0)
"""Default range in the authors' code; they also write it for models whose range is another."""

CLOSE = 1e-4
"""Relative difference of the ends of one range, rounded and not."""

CARDS = {"imagenet256": "imagenet256-clamped"}
"""Data sets whose card, as the authors use the model, is another."""


@dataclass(frozen=True)
class Given:
    """What a user says of the model, in place of the file and the model's card; None: nothing.

    ``solver`` and ``options`` belong to files that hold times alone.
    """

    model: str | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    guidance: float | None = None
    solver: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def sigma_range(facts: Mapping[str, Any], given: Given) -> tuple[float, float]:
    """(sigma_min, sigma_max) of a predictor: as given, of the model's card, or in the file itself.

    ``facts`` are the settings in the file: ``dataset_name``, ``schedule_type``, ``sigma_min``, ``sigma_max``.
    The file's numbers are used if the card has the same (they have more digits), or if there is no card and
    they cannot be the default that the authors' code writes for every model.

    Raises:
        CheckpointError: none of them says it.
    """
    own = _written(facts)
    known = _known_range(facts, given) or (own if _believable(own, facts) else None)
    if known and own and all(abs(a - b) <= CLOSE * b for a, b in zip(own, known, strict=True)):
        known = own
    low, high = known or (None, None)
    low = low if given.sigma_min is None else given.sigma_min
    high = high if given.sigma_max is None else given.sigma_max
    if low is None or high is None:
        raise CheckpointError(
            f"the range of noise levels of {facts.get('dataset_name') or 'its data set'!r} is not known: the "
            "file does not have it, and no model card has this name. Give --sigma-min and --sigma-max, or "
            f"name a model that has it with --model: {', '.join(_cards())}, or a checkpoint folder."
        )
    return low, high


def model_of(facts: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """The document ``model`` of the coefficients: ``name``, and ``guidance`` if the sampler is guided.

    ``facts`` has ``dataset_name``, ``guidance_type``, ``guidance_rate``, and perhaps ``model_name_or_path``
    of a pipeline of ``diffusers``.

    Raises:
        CheckpointError: the model is guided, and nothing says how much.
    """
    pipeline = facts.get("model_name_or_path")
    own = f"diffusers:{pipeline}" if pipeline else dataset_card(facts)
    values = {"name": given.model or own, "guidance": _guidance(facts, given)}
    return {key: value for key, value in values.items() if value not in (None, 1.0)}


def dataset_card(facts: Mapping[str, Any]) -> str | None:
    """Name of the model card of a file's data set; None: there is none."""
    name = str(facts.get("dataset_name"))
    name = CARDS.get(name, name)
    return name if name in _cards() else None


def _cards() -> dict[str, ModelCard]:
    """All model cards by name; pydantic, which reads them, is loaded with the first predictor only."""
    from adasde.models.hub.cards import catalogue

    return catalogue()


def _guidance(facts: Mapping[str, Any], given: Given) -> float | None:
    if given.guidance is not None:
        return float(given.guidance)
    kind, rate = facts.get("guidance_type"), facts.get("guidance_rate")
    if kind == "uncond":
        return None
    if kind in ("cfg", "cg") and isinstance(rate, int | float):
        return float(rate)
    card = _cards().get(str(given.model or dataset_card(facts)))
    if card is not None and card.guidance is not None:
        return card.guidance.scale
    if kind is not None:
        raise CheckpointError(
            f"the model is guided ({kind}), but the file has no guidance scale. Give --guidance."
        )
    return None


def _known_range(facts: Mapping[str, Any], given: Given) -> tuple[float, float] | None:
    """The range of the model that is given, or of the data set's."""
    name = given.model or dataset_card(facts)
    card = _cards().get(str(name))
    if card is not None:
        return card.sigma_min, card.sigma_max
    if given.model is None:
        return None
    checkpoint = read_card(find(given.model))
    return checkpoint.sigma_min, checkpoint.sigma_max


def _written(facts: Mapping[str, Any]) -> tuple[float, float] | None:
    """The range in the file."""
    low, high = facts.get("sigma_min"), facts.get("sigma_max")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return float(low), float(high)
    return None


def _believable(own: tuple[float, ...] | None, facts: Mapping[str, Any]) -> bool:
    """Whether a range in the file is the model's, and not only the default of the authors' code."""
    return own is not None and (own != EDM_RANGE or facts.get("schedule_type") != "discrete")
