"""Published files of other authors, read as data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from adasde.errors import AdaSDEError, CheckpointError
from adasde.integrations.released.dyweight import from_weights
from adasde.integrations.released.flow import from_flow
from adasde.integrations.released.origin import Given, model_of, sigma_range
from adasde.integrations.released.parallel import CONFIG, NOISE_CONFIG, NOISE_RAW, RAW, from_raw
from adasde.integrations.released.saved import is_saved, table_of_saved
from adasde.models.safe_pickle import Instance, load_pickle
from adasde.sampling.coefficients import Coefficients

PLACES = ("model", "predictor")
"""Entries of a file that can hold the predictor: AdaSDE's and EPD's, DyWeight's."""

BESIDE = "loss_fn"
"""The entry that holds the settings of the training."""

STUDENTS = ("", "adasde", "epd")
"""Supported values of ``sampler_stu``; EPD's plug-in into iPNDM is not supported."""

FLOW = "flowmatch"
"""The schedule of flow matching models."""


def load_predictor(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    guidance: float | None = None,
    solver: str = "",
    options: Mapping[str, Any] | None = None,
) -> Coefficients:
    """Coefficients in a file of AdaSDE's, EPD's, DyWeight's or LD3's authors; nothing in it is run.

    The range of noise levels is that of the model card of the file's data set. ``model`` (a card's name or a
    checkpoint folder), ``sigma_min``, ``sigma_max`` and ``guidance`` replace what the file and the card say.
    ``solver`` and its ``options`` belong to the learned times of LD3, whose files do not name it.

    Raises:
        CheckpointError: unreadable, refers to a name that is not allowed, not such a predictor, one that
            cannot be expressed as coefficients, or the range or the guidance is not known.
    """
    given = Given(model, sigma_min, sigma_max, guidance, solver, options or {})
    try:
        return table_of_saved(path, given) if is_saved(path) else _of_pickle(path, given)
    except CheckpointError as error:
        named = str(error).startswith(str(path))
        raise (error if named else CheckpointError(f"{path}: {error}")) from error
    except (AdaSDEError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"{path}: the predictor's numbers cannot be used: {error}") from error


def _of_pickle(path: str | os.PathLike[str], given: Given) -> Coefficients:
    """The table of a predictor that is pickled as an object."""
    document = load_pickle(path, needed=PLACES)
    place = next((name for name in PLACES if name in document), None) if isinstance(document, dict) else None
    wrapped = document[place] if place else None
    if not isinstance(wrapped, Instance):
        raise CheckpointError(f"{path} is a pickle, but not a released predictor: it has no 'model' object.")
    beside = document.get(BESIDE)
    facts = _facts(wrapped.state, beside.state if isinstance(beside, Instance) else {})
    origin, table = _table(wrapped, facts, given)
    made = {"released": wrapped.class_name, "dataset": str(facts.get("dataset_name")), "origin": origin}
    return replace(table, model=model_of(facts, given), provenance=made)


def _facts(state: Mapping[Any, Any], beside: Mapping[Any, Any]) -> dict[str, Any]:
    """All settings in a file: of its predictor, its backend, and its training where these two lack one."""
    backend = state.get("backend_config")
    facts = {key: value for key, value in beside.items() if value is not None}
    facts |= backend if isinstance(backend, dict) else {}
    return facts | {key: value for key, value in state.items() if value is not None}


def _table(wrapped: Instance, facts: Mapping[str, Any], given: Given) -> tuple[str, Coefficients]:
    """(origin, coefficients) of a predictor."""
    parameters = wrapped.state.get("_parameters") or {}
    if isinstance(parameters.get("hybrid_weights"), Tensor):
        return "DyWeight", _of_dyweight(wrapped, facts, given)
    noisy = any(name in parameters or name in wrapped.state for name in (*NOISE_RAW, *NOISE_CONFIG))
    raw, config = (RAW + NOISE_RAW, CONFIG + NOISE_CONFIG) if noisy else (RAW, CONFIG)
    missing = [name for name in raw if not isinstance(parameters.get(name), Tensor)]
    missing += [name for name in config if name not in wrapped.state]
    student = str(facts.get("sampler_stu", ""))
    if missing or student not in STUDENTS:
        lacks = f"it lacks {', '.join(missing)}" if missing else f"its student is {student!r}"
        raise CheckpointError(f"it holds a {wrapped.class_name}, not an AdaSDE or EPD predictor: {lacks}.")
    values = {name: parameters[name].detach() for name in raw}
    if facts["schedule_type"] == FLOW:
        return "EPD", from_flow(values, facts)
    return "AdaSDE" if noisy else "EPD", from_raw(values, _ranged(facts, given))


def _of_dyweight(wrapped: Instance, facts: Mapping[str, Any], given: Given) -> Coefficients:
    parameters, buffers = wrapped.state["_parameters"], wrapped.state.get("_buffers") or {}
    missing = [name for name in ("num_steps", "schedule_type", "schedule_rho", "afs") if name not in facts]
    if missing:
        raise CheckpointError(f"it holds a {wrapped.class_name} without its settings: {', '.join(missing)}.")
    weights, mask = parameters["hybrid_weights"], buffers.get("mask")
    weights = weights * mask if isinstance(mask, Tensor) else weights
    return from_weights(weights, parameters.get("t_scale"), _ranged(facts, given))


def _ranged(facts: Mapping[str, Any], given: Given) -> dict[str, Any]:
    low, high = sigma_range(facts, given)
    return {**facts, "sigma_min": low, "sigma_max": high}
