"""Which classes or prompts are wanted, and which of them an image has.

Chosen ones take turns by the seed: of n, the image of a seed has number ``seed % n``. So an image depends on
its own seed and on what was chosen, never on the other seeds or on how they are divided into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adasde.errors import ParamsError
from adasde.generation.seeds import numbers
from adasde.models.prompts import Prompted, read_prompts
from adasde.types import Denoiser, Model
from adasde.utils.atomic_io import sha256_json

Asked = Sequence[int] | Sequence[str]
"""Classes or prompts: of every image, or those that take turns."""

READABLE = 4000
"""Prompts of more characters are recorded by their number and SHA-256."""


def parse_classes(text: str) -> list[int]:
    """``"0,3,7-9"`` -> [0, 3, 7, 8, 9], each class once, in order.

    Raises:
        ParamsError: something else.
    """
    return numbers(text, "classes", below=10**6, example="0,3,7 or 0-9")


def parse_prompts(text: str) -> list[str]:
    """The lines of the file ``text``; what neither is a file nor ends in ``.txt`` is itself the one prompt.

    Raises:
        CheckpointError: the file cannot be read, or has no prompt.
        ParamsError: no text.
    """
    if not text.strip():
        raise ParamsError("--prompts is empty. Give a prompt, or a text file with one prompt a line.")
    named = text.endswith(".txt") or ("\n" not in text and len(text) < 1000 and Path(text).is_file())
    return read_prompts(text) if named else [text.strip()]


def turns(chosen: Asked, seeds: Sequence[int]) -> list[Any]:
    """What the image of every seed has: number ``seed % len(chosen)``."""
    return [chosen[seed % len(chosen)] for seed in seeds]


def check(model: Model, chosen: Asked) -> None:
    """Refuse classes or prompts that the model does not take (ParamsError)."""
    if not chosen:
        return
    if isinstance(chosen[0], str):
        if not isinstance(model.condition, Prompted):
            raise ParamsError(f"the model {model.name!r} draws no prompts; leave --prompts out.")
        return
    if not model.classes:
        prompted = isinstance(model.condition, Prompted)
        instead = "say --prompts instead" if prompted else "leave --classes out"
        raise ParamsError(f"the model {model.name!r} has no classes; {instead}.")
    if others := [label for label in chosen if int(label) >= model.classes]:
        raise ParamsError(
            f"the model {model.name!r} has the classes 0 to {model.classes - 1}; there is no class "
            f"{others[0]}."
        )


def bound(model: Model, seeds: Sequence[int], asked: Asked | None, *, guidance: float) -> Denoiser:
    """The denoiser of the batch; ``asked`` has the class or prompt of every image, None: ``Model.bind``'s."""
    if asked is None:
        return model.bind(seeds, guidance)
    if isinstance(model.condition, Prompted):
        told = replace(model, condition=model.condition.of([str(prompt) for prompt in asked]))
        return told.bind(range(len(asked)), guidance)
    return model.bind([int(label) for label in asked], guidance)  # a class has itself as remainder


def recorded(model: Model, chosen: Asked) -> dict[str, Any]:
    """Classes and prompts as the settings of images name them; nothing where the seeds alone decide."""
    if not isinstance(model.condition, Prompted):
        return {"classes": list(chosen)} if chosen else {}
    prompts = [str(prompt) for prompt in chosen] or model.condition.prompts
    short = sum(len(prompt) for prompt in prompts) <= READABLE
    return {"prompts": prompts if short else {"count": len(prompts), "sha256": sha256_json(prompts)}}
