"""The problem on which tests measure learned tables: its exact solution and the latents of a test."""

from __future__ import annotations

import torch
from closed_form import small_mixture

import adasde
from adasde.sampling.schedules import schedule

FIXED = {"gamma_max": 0.0, "scale_dir": 0.0, "scale_time": 0.0}


def end_error(states: torch.Tensor) -> float:
    """Mean squared distance to a fine solution, from latents that training never saw."""
    exact = adasde.solve(small_mixture(), fresh(), schedule("polynomial", 200), "dpm2")
    return float((states - exact).square().mean())


def fresh() -> torch.Tensor:
    return adasde.latents(range(10_000, 10_256), (6,), dtype=torch.float64)
