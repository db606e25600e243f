"""Images for a table of wishes: a row has a seed and, where the model takes one, a class or a prompt."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from adasde.errors import CheckpointError, CoefficientsError, ParamsError
from adasde.generation.drawing import Asked, Request, draw_seeds, loaded
from adasde.generation.seeds import HIGHEST
from adasde.generation.sinks import png
from adasde.models.prompts import Prompted
from adasde.sampling.coefficients import Coefficients
from adasde.types import Model
from adasde.utils.batching import chunks
from adasde.utils.devices import default_device

SEED, CLASS, PROMPT = "seed", "class", "prompt"
MODEL = "ADASDE_MODEL"
"""The variable that names the checkpoint where it is not a packaged one."""

Columns = Mapping[str, Sequence[Any]]


def prepare(
    coefficients: str | os.PathLike[str], *, model: str | None = None, device: str | None = None
) -> Request:
    """What rows are drawn with, its network loaded and verified.

    The network is ``model``, or what the variable ADASDE_MODEL names, or the one that the coefficients name;
    it runs on ``device``, or on the ``default_device``.

    Raises:
        CheckpointError: its weights are not here.
        CoefficientsError: they are another checkpoint's, or the coefficients are no whole table.
    """
    table = Coefficients.load(coefficients)
    chosen = model or os.environ.get(MODEL)
    request = Request.of(table, model=chosen, device=device or default_device())
    remedy = f"Name its folder in the variable {MODEL} or in the setting 'model'."
    try:
        network = loaded(request.model, request.device)
    except CheckpointError as error:
        known = str(table.model.get("sha256") or "unknown")[:12]
        raise CheckpointError(
            f"the network of these coefficients, {table.model.get('name')!r} with sha256 {known}…, cannot be "
            f"loaded: {error} {remedy}"
        ) from error
    try:
        table.check_model(network.sha256)
    except CoefficientsError as error:
        raise CoefficientsError(f"{request.model}: {error} {remedy}") from error
    return request


@torch.no_grad()
def draw_rows(request: Request, columns: Columns, *, batch: int = 64) -> dict[str, list[Any]]:
    """Columns ``image`` (PNG, base64), ``height`` and ``width`` (pixels), a row for each of ``columns``.

    ``columns`` has ``seed``, and ``class`` or ``prompt`` if the images are not to have those of their seeds.
    An image depends on its own row alone; at most ``batch`` are drawn at a time.

    Raises:
        ParamsError: a column that the model does not take, or a value out of range.
    """
    seeds, asked = _checked(loaded(request.model, request.device), columns)
    drawn: dict[str, list[Any]] = {"image": [], "height": [], "width": []}
    for piece in chunks(range(len(seeds)), batch):
        told: Any = None if asked is None else [asked[k] for k in piece]
        for image in draw_seeds(request, [seeds[k] for k in piece], asked=told):
            drawn["image"].append(base64.b64encode(png(image)).decode("ascii"))
            drawn["height"].append(image.shape[1])
            drawn["width"].append(image.shape[2])
    return drawn


def _checked(model: Model, columns: Columns) -> tuple[list[int], Asked | None]:
    """The seeds, and what is asked for beside them."""
    prompted = isinstance(model.condition, Prompted)
    takes = [SEED, *[CLASS] * bool(model.classes), *[PROMPT] * prompted]
    unknown = [name for name in columns if name not in takes]
    if unknown or SEED not in columns:
        wrong = f"takes no column {unknown[0]!r}" if unknown else f"needs the column {SEED!r}"
        raise ParamsError(f"the model {model.name!r} {wrong}; its columns: {', '.join(takes)}.")
    seeds = _integers(SEED, columns[SEED], HIGHEST)
    if CLASS in columns:
        return seeds, _integers(CLASS, columns[CLASS], model.classes)
    if PROMPT in columns:
        if others := [prompt for prompt in columns[PROMPT] if not isinstance(prompt, str)]:
            raise ParamsError(f"prompts are texts, one in every row, not {others[0]!r}.")
        return seeds, list(columns[PROMPT])
    return seeds, None


def _integers(name: str, values: Sequence[Any], end: int) -> list[int]:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < end:
            raise ParamsError(f"{name} must be an integer from 0 to {end - 1} in every row, not {value!r}.")
    return [int(value) for value in values]
