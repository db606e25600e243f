"""Predictors of the reference implementation (2510.23285, authors' commit d938eb8) as coefficients."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adasde.errors import AdaSDEError, CheckpointError
from adasde.models.safe_pickle import Instance, load_pickle
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.schedules import schedule

RAW = ("r_params", "scale_dir_params", "scale_time_params", "weight_s")
CONFIG = ("num_steps", "schedule_type", "schedule_rho", "afs", "scale_dir", "scale_time")
NOISE_RAW, NOISE_CONFIG = ("gamma_params",), ("gamma", "gamma_min")
"""Additional parameters of AdaSDE's predictors, which those of EPD (2507.14797, without noise) lack."""

STUDENTS = ("", "adasde", "epd")
"""Supported values of ``sampler_stu``; EPD's plug-in into iPNDM is not supported."""


def load_predictor(path: str | os.PathLike[str]) -> Coefficients:
    """Coefficients in a predictor ``.pkl`` of AdaSDE's or EPD's authors; nothing in the file is executed.

    Raises:
        CheckpointError: unreadable, refers to a name that is not allowed, or not such a predictor.
    """
    document = load_pickle(path)
    wrapped = document.get("model") if isinstance(document, dict) else None
    if not isinstance(wrapped, Instance):
        raise CheckpointError(f"{path} is a pickle, but not a released predictor: it has no 'model' object.")
    state = wrapped.state
    parameters = state.get("_parameters") or {}
    noisy = any(name in parameters or name in state for name in (*NOISE_RAW, *NOISE_CONFIG))
    raw, config = (RAW + NOISE_RAW, CONFIG + NOISE_CONFIG) if noisy else (RAW, CONFIG)
    missing = [name for name in raw if name not in parameters] + [
        name for name in config if name not in state
    ]
    student = str(state.get("sampler_stu", ""))
    if missing or student not in STUDENTS:
        lacks = f"it lacks {', '.join(missing)}" if missing else f"its student is {student!r}"
        raise CheckpointError(
            f"{path} holds a {wrapped.class_name}, not an AdaSDE or EPD predictor: {lacks}."
        )
    try:
        table = from_raw({name: parameters[name] for name in raw}, {name: state[name] for name in config})
    except (AdaSDEError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the predictor's numbers cannot be used: {error}") from error
    made = {"released": wrapped.class_name, "dataset": str(state.get("dataset_name"))}
    return replace(table, provenance=made)


def from_raw(raw: Mapping[str, Any], config: Mapping[str, Any], sigmas: Tensor | None = None) -> Coefficients:
    """Coefficients from a predictor's raw parameters [N][K] and its settings.

    ``raw`` has ``r_params, scale_dir_params, scale_time_params, weight_s, gamma_params``; ``config`` has
    ``num_steps`` (points, N + 1), ``schedule_type``, ``schedule_rho``, ``afs``, ``scale_dir``,
    ``scale_time``, ``gamma`` (its maximum; 0 turns the noise off) and ``gamma_min``. Without the three
    gammas the predictor is EPD's: no noise, and scales 1 + scale * tanh(raw / 4) instead of tanh(raw / 2).
    ``sigmas`` replaces the grid, which the reference implementation computes in float32.
    """
    table = {name: torch.as_tensor(values).detach().double() for name, values in raw.items()}
    if sigmas is None:
        sigmas = schedule(config["schedule_type"], config["num_steps"] - 1, rho=config["schedule_rho"])
    gamma, width = torch.zeros(len(table["r_params"])), 4
    if "gamma_params" in table:
        gamma, width = released_gamma(table["gamma_params"][:, 0], config["gamma_min"], config["gamma"]), 2
    return Coefficients(
        sigmas=sigmas,
        gamma=gamma,
        midpoint=torch.sigmoid(table["r_params"]),
        direction_scale=1 + config["scale_dir"] * torch.tanh(table["scale_dir_params"] / width),
        time_scale=1 + config["scale_time"] * torch.tanh(table["scale_time_params"] / width),
        weights=torch.softmax(table["weight_s"], dim=1),
        afs=bool(config["afs"]),
    )


def released_gamma(raw: Tensor, lowest: float, highest: float) -> Tensor:
    """Gamma [N] from ``lowest`` to ``highest``: 0 at the first step, and everywhere if ``highest`` is 0."""
    if highest == 0:
        return torch.zeros_like(raw)
    gamma = lowest + (highest - lowest) * torch.sigmoid((raw + 2 * math.log(1.5)) / 2)
    return torch.cat([torch.zeros_like(gamma[:1]), gamma[1:]])
