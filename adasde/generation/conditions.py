"""Conditions of images: the classes or prompts that they are drawn for.

Several conditions alternate by the seed: of n, the image of a seed has number ``seed % n``. So an image
depends on its own seed and on the conditions, never on the other seeds or on how they form batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adasde.errors import ParamsError
from adasde.generation.seeds import numbers
from adasde.models.core.prompts import Prompted, read_prompts
from adasde.types import Denoiser, Model
from adasde.utils.atomic_io import sha256_json

Conditions = Sequence[int] | Sequence[str]
"""Classes or prompts."""

READABLE = 4000
"""Prompts with more characters in all are recorded by their number and SHA-256."""


def parse_classes(text: str) -> list[int]:
    """``"0,3,7-9"`` -> [0, 3, 7, 8, 9], each class once, in order (ParamsError for any other text)."""
    return numbers(text, "classes", below=10**6, example="0,3,7 or 0-9")


def parse_prompts(text: str) -> list[str]:
    """The lines of the file ``text``; a text that is no file and does not end in ``.txt`` is the one prompt.

    Raises:
        CheckpointError: the file cannot be read, or has no prompt.
        ParamsError: the text is empty.
    """
    if not text.strip():
        raise ParamsError("--prompts is empty. Give a prompt, or a text file with one prompt a line.")
    named = text.endswith(".txt") or ("\n" not in text and len(text) < 1000 and Path(text).is_file())
    return read_prompts(text) if named else [text.strip()]


def check_conditions(model: Model, conditions: Conditions) -> None:
    """Raise ParamsError for classes or prompts that the model does not take."""
    prompted = isinstance(model.condition, Prompted)
    if not conditions:
        return
    if isinstance(conditions[0], str):
        if not prompted:
            raise ParamsError(f"the model {model.name!r} draws no prompts; leave --prompts out.")
    elif not model.classes:
        remedy = "use --prompts instead" if prompted else "leave --classes out"
        raise ParamsError(f"the model {model.name!r} has no classes; {remedy}.")
    elif others := [label for label in conditions if int(label) >= model.classes]:
        raise ParamsError(
            f"the model {model.name!r} has the classes 0 to {model.classes - 1}; there is no class "
            f"{others[0]}."
        )


def conditioned(
    model: Model, seeds: Sequence[int], conditions: Conditions | None, *, guidance: float
) -> Denoiser:
    """Denoiser of a batch with a class or prompt for every image; None: those of ``Model.bind``."""
    if conditions is None:
        return model.bind(seeds, guidance)
    if isinstance(model.condition, Prompted):
        prompts = model.condition.of([str(prompt) for prompt in conditions])
        return replace(model, condition=prompts).bind(range(len(conditions)), guidance)
    return model.bind([int(label) for label in conditions], guidance)  # a class is its own remainder


def described(model: Model, conditions: Conditions) -> dict[str, Any]:
    """Classes and prompts as part of the settings of images; empty where the seeds alone decide."""
    if not isinstance(model.condition, Prompted):
        return {"classes": list(conditions)} if conditions else {}
    prompts = [str(prompt) for prompt in conditions] or model.condition.prompts
    short = sum(len(prompt) for prompt in prompts) <= READABLE
    return {"prompts": prompts if short else {"count": len(prompts), "sha256": sha256_json(prompts)}}
