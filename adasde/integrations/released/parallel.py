"""Steps with parallel points: AdaSDE's predictors (2510.23285) and EPD's (2507.14797) as coefficients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.integrations.released.grids import released_grid
from adasde.sampling.coefficients import Coefficients

RAW = ("r_params", "scale_dir_params", "scale_time_params", "weight_s")
CONFIG = ("num_steps", "schedule_type", "schedule_rho", "afs", "scale_dir", "scale_time")
NOISE_RAW, NOISE_CONFIG = ("gamma_params",), ("gamma", "gamma_min")
"""Additional parameters of AdaSDE's predictors, which EPD's lack."""

LOWEST_GAMMA = 2e-4
"""``gamma_min`` of AdaSDE's code; predictors say their own."""

WIDEST_SCALE = 0.99
"""Largest ``scale_dir`` and ``scale_time`` that AdaSDE's predictors use, whatever their settings say."""

RANGE = {"sigma_min": 0.002, "sigma_max": 80.0}
"""EDM's range of noise levels, where ``config`` has none."""

EDM_SCHEDULES = ("polynomial", "logsnr", "time_uniform")
"""Schedules that can have that range."""

EDM_DATA = (None, "cifar10", "ffhq", "afhqv2", "imagenet64", "lsun_bedroom")
"""Data sets whose models have it; None: a ``config`` without a data set."""


def from_raw(raw: Mapping[str, Any], config: Mapping[str, Any], sigmas: Tensor | None = None) -> Coefficients:
    """Coefficients from a predictor's raw parameters [N][K] and its settings.

    ``raw`` has ``r_params, scale_dir_params, scale_time_params, weight_s, gamma_params``; ``config`` has
    ``num_steps`` (points, N + 1), ``schedule_type``, ``schedule_rho``, ``afs``, ``scale_dir``,
    ``scale_time``, ``gamma`` (its maximum; 0 turns the noise off), ``gamma_min``, and perhaps ``fcn`` (the
    last step's directions are not scaled), ``sigma_min`` and ``sigma_max``. Without the three gammas the
    predictor is EPD's: no noise, and scales 1 + scale * tanh(raw / 4) instead of tanh(raw / 2). γ of a step
    is that of its points, weighted: Σ_k w_k γ_k. ``sigmas`` replaces the grid, which the reference
    implementation computes in float32. Gradients reach ``raw``.

    Raises:
        SolverError: ``schedule_type`` is not known, or ``config`` lacks the range of a model beside EDM's.
    """
    table = {name: torch.as_tensor(values).double() for name, values in raw.items()}
    if sigmas is None:
        sigmas = released_grid(_with_range(config))
    weights = torch.softmax(table["weight_s"], dim=1)
    direction_scale, time_scale = _scales(table, config)
    return Coefficients(
        sigmas=sigmas,
        gamma=_gamma(table, config, weights),
        midpoint=torch.sigmoid(table["r_params"]),
        direction_scale=direction_scale,
        time_scale=time_scale,
        weights=weights,
        afs=bool(config["afs"]),
    )


def released_gamma(raw: Tensor, lowest: float, highest: float) -> Tensor:
    """Gamma [N] (or [N, K]) from ``lowest`` to ``highest``: 0 at the first step, or if ``highest`` is 0."""
    if highest == 0:
        return torch.zeros_like(raw)
    gamma = lowest + (highest - lowest) * torch.sigmoid((raw + 2 * math.log(1.5)) / 2)
    return torch.cat([torch.zeros_like(gamma[:1]), gamma[1:]])


def _gamma(table: Mapping[str, Tensor], config: Mapping[str, Any], weights: Tensor) -> Tensor:
    """Gamma [N] of the steps."""
    if "gamma_params" not in table or not config["gamma"]:
        return torch.zeros_like(weights[:, 0])
    lowest = config.get("gamma_min", LOWEST_GAMMA)
    points = released_gamma(table["gamma_params"], lowest, config["gamma"])
    return (weights * points).sum(1)


def _scales(table: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """λ and μ [N, K]; a scale of 0 leaves them at 1."""
    noisy = "gamma_params" in table
    width, widest = (2, WIDEST_SCALE) if noisy else (4, math.inf)
    direction_scale, time_scale = (
        1 + min(float(config[name]), widest) * torch.tanh(table[f"{name}_params"] / width)
        for name in ("scale_dir", "scale_time")
    )
    if config.get("fcn"):
        direction_scale = torch.cat([direction_scale[:-1], torch.ones_like(direction_scale[-1:])])
    return direction_scale, time_scale


def _with_range(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with EDM's range, if it can be that."""
    edm = (
        config["schedule_type"] in EDM_SCHEDULES
        and config.get("guidance_type") in (None, "uncond")
        and config.get("dataset_name") in EDM_DATA
    )
    if not edm and "sigma_max" not in config:
        raise SolverError(
            f"the range of noise levels of {config.get('dataset_name')} ({config['schedule_type']}) is that "
            "of its model: give sigma_min and sigma_max, or sigmas."
        )
    return {**RANGE, **config}
