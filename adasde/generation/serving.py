"""Images for the rows of a table: each has a seed and, where the model takes one, a class or a prompt."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any

from adasde.errors import CheckpointError, CoefficientsError, ParamsError
from adasde.generation.conditions import Conditions
from adasde.generation.drawing import Request, draw_seeds
from adasde.generation.seeds import HIGHEST
from adasde.generation.sinks import png
from adasde.models.core.prompts import Prompted
from adasde.sampling.coefficients import Coefficients
from adasde.types import Model
from adasde.utils.batching import chunks
from adasde.utils.devices import default_device

SEED, CLASS, PROMPT = "seed", "class", "prompt"
MODEL = "ADASDE_MODEL"
"""The variable that names the checkpoint if it is not a packaged one."""

Columns = Mapping[str, Sequence[Any]]


def prepare(
    coefficients: str | os.PathLike[str], *, model: str | None = None, device: str | None = None
) -> Request:
    """The request for rows, with its network loaded and verified.

    The network is ``model``, or that of the variable ADASDE_MODEL, or the one that the coefficients name;
    it runs on ``device``, or on the ``default_device``.

    Raises:
        CheckpointError: its weights are not here.
        CoefficientsError: it has other weights, or the coefficient file is damaged.
    """
    table = Coefficients.load(coefficients)
    named = model or os.environ.get(MODEL)
    request = Request.of(table, model=named, device=device or default_device())
    try:
        request.load()
    except (CheckpointError, CoefficientsError) as error:
        sha256 = str(table.model.get("sha256") or "unknown")[:12]
        raise type(error)(
            f"the network of these coefficients, {table.model.get('name')!r} with sha256 {sha256}…, cannot "
            f"be loaded: {request.model}: {error} Name its folder in the variable {MODEL} or in the setting "
            "'model'."
        ) from error
    return request


def draw_rows(request: Request, columns: Columns, *, batch: int = 64) -> dict[str, list[Any]]:
    """Columns ``image`` (PNG, base64), ``height`` and ``width`` (pixels), with a row for each of ``columns``.

    ``columns`` has ``seed``, and optionally ``class`` or ``prompt`` in place of those of the seeds. An image
    depends on its own row alone; at most ``batch`` are drawn at a time.

    Raises:
        ParamsError: a column that the model does not take, or a value out of range.
    """
    seeds, conditions = _checked(request.load(), columns)
    drawn: dict[str, list[Any]] = {"image": [], "height": [], "width": []}
    for rows in chunks(range(len(seeds)), batch):
        span = slice(rows.start, rows.stop)
        part = None if conditions is None else conditions[span]
        for image in draw_seeds(request, seeds[span], conditions=part):
            drawn["image"].append(base64.b64encode(png(image)).decode("ascii"))
            drawn["height"].append(image.shape[1])
            drawn["width"].append(image.shape[2])
    return drawn


def _checked(model: Model, columns: Columns) -> tuple[list[int], Conditions | None]:
    """The seeds, and the condition of every row if there is such a column."""
    prompted = isinstance(model.condition, Prompted)
    takes = [SEED, *[CLASS] * bool(model.classes), *[PROMPT] * prompted]
    unknown = [name for name in columns if name not in takes]
    if unknown or SEED not in columns:
        wrong = f"takes no column {unknown[0]!r}" if unknown else f"needs the column {SEED!r}"
        raise ParamsError(f"the model {model.name!r} {wrong}; its columns: {', '.join(takes)}.")
    seeds = _integers(SEED, columns[SEED], HIGHEST)
    if CLASS in columns:
        return seeds, _integers(CLASS, columns[CLASS], model.classes)
    if PROMPT not in columns:
        return seeds, None
    if others := [prompt for prompt in columns[PROMPT] if not isinstance(prompt, str)]:
        raise ParamsError(f"prompts are texts, one in every row, not {others[0]!r}.")
    return seeds, list(columns[PROMPT])


def _integers(name: str, values: Sequence[Any], end: int) -> list[int]:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < end:
            raise ParamsError(f"{name} must be an integer from 0 to {end - 1} in every row, not {value!r}.")
    return list(values)
