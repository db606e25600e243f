"""Grids: exact ends, monotone, equal to the released grids, clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adasde.errors import SolverError
from adasde.sampling.schedules import SCHEDULES, schedule, training_sigmas

GOLDEN = Path(__file__).parents[1] / "data" / "released_sampler_golden.npz"


def golden_grids() -> list[str]:
    with np.load(GOLDEN) as archive:
        return [key for key in archive.files if key.startswith("schedule_")]


@pytest.mark.parametrize("key", golden_grids())
def test_agrees_with_the_release_which_computes_in_float32(key: str) -> None:
    with np.load(GOLDEN) as archive:
        released = torch.from_numpy(archive[key])
    _, *words, rho, points = key.split("_")
    name = "_".join(words)
    ours = schedule(name, int(points) - 1, rho=float(rho))
    # where sigma is small, float32 loses digits of exp(.) - 1: its time_uniform ends at 0.0020131
    torch.testing.assert_close(ours[:-1], released[:-1], rtol=1e-5, atol=1e-5)
    assert float(ours[-1]) == 0.002


@pytest.mark.parametrize("name", SCHEDULES)
@settings(deadline=None)
@given(
    steps=st.integers(1, 40),
    rho=st.floats(0.5, 9),
    sigma_min=st.floats(1e-3, 0.01),
    sigma_max=st.floats(20, 200),
)
def test_monotone_with_exact_ends(
    name: str, steps: int, rho: float, sigma_min: float, sigma_max: float
) -> None:
    grid = schedule(name, steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
    assert grid.dtype == torch.float64 and grid.shape == (steps + 1,)
    assert float(grid[0]) == sigma_max and float(grid[-1]) == sigma_min
    assert bool((grid[:-1] > grid[1:]).all())


def test_polynomial_is_uniform_in_the_root() -> None:
    roots = schedule("polynomial", 10, rho=7) ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(10))


def stable_diffusion() -> torch.Tensor:
    """Its training noise levels: sqrt(beta) linear from sqrt(0.00085) to sqrt(0.012)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    signal = (1 - betas).cumprod(0)
    return ((1 - signal) / signal).sqrt()


def test_discrete_has_the_training_times_of_stable_diffusion() -> None:
    table = stable_diffusion()
    assert (float(table[0]), float(table[-1])) == pytest.approx((0.0291671, 14.6146), rel=1e-5)
    ours = training_sigmas(float(table[0]), float(table[-1]))
    torch.testing.assert_close(ours, table, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("steps", "rho"), [(5, 1.0), (40, 7.0), (30, 0.5), (999, 3.0)])
def test_discrete_nodes_are_training_times(steps: int, rho: float) -> None:
    table = stable_diffusion()
    ends = {"sigma_min": float(table[0]), "sigma_max": float(table[-1])}
    grid = schedule("discrete", steps, rho=rho, **ends)
    nearest = (table[:, None] - grid).abs().min(0)
    torch.testing.assert_close(table[nearest.indices], grid, rtol=1e-9, atol=0)
    assert len(nearest.indices.unique()) == steps + 1


def test_discrete_is_uniform_in_the_time() -> None:
    grid = schedule("discrete", 9, rho=1)
    torch.testing.assert_close(grid, training_sigmas(0.002, 80.0)[range(999, -1, -111)])


@pytest.mark.parametrize("nodes", [[3.0, 2.0, 0.5], torch.tensor([3.0, 2.0, 0.5])])
def test_explicit_nodes_are_the_grid(nodes) -> None:
    expected = torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(schedule("explicit", 2, nodes=nodes), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "polinomial", "steps": 4}, "Did you mean 'polynomial'"),
        ({"name": "logsnr", "steps": 0}, "at least 1 step, got steps=0"),
        ({"name": "logsnr", "steps": 3, "rho": -1.0}, "rho must be a positive number, got -1.0"),
        ({"name": "logsnr", "steps": 3, "sigma_min": 90.0}, "sigma_min=90.0, sigma_max=80.0"),
        (
            {"name": "time_uniform", "steps": 30, "sigma_min": 0.1, "sigma_max": 10.0, "rho": 1.0},
            "wider range of sigma",
        ),
        ({"name": "logsnr", "steps": 3, "sigma_min": 80.0}, "sigma_min=80.0, sigma_max=80.0"),
        ({"name": "logsnr", "steps": 3, "sigma_min": float("nan")}, "sigma_min=nan, sigma_max=80.0"),
        ({"name": "logsnr", "steps": 3, "rho": float("inf")}, "rho must be a positive number, got inf"),
        ({"name": "discrete", "steps": 1000}, "discrete has 1000 times, 999 steps at most, got steps=1000"),
        (
            {"name": "discrete", "steps": 3, "sigma_max": 0.01},
            "sigma_min=0.002 overshoot sigma_max=0.01",
        ),
        ({"name": "explicit", "steps": 3}, "the schedule 'explicit' needs nodes"),
        ({"name": "explicit", "steps": 3, "nodes": [2.0, 1.0]}, "3 steps need 4 explicit nodes, got 2"),
        (
            {"name": "explicit", "steps": 2, "nodes": [2.0, 2.5, 1.0]},
            r"strictly decreasing; look at sigmas\[0\] = 2.0 and 2.5 after it",
        ),
        ({"name": "explicit", "steps": 1, "nodes": [2.0, -1.0]}, "look at the last, -1.0"),
        ({"name": "explicit", "steps": 1, "nodes": [2.0, "x"]}, "must be a row of numbers, got"),
        (
            {"name": "logsnr", "steps": 1, "nodes": [2.0, 1.0]},
            "belong to the schedule 'explicit', not to 'logsnr'",
        ),
        ({"name": "explict", "steps": 1}, "known: discrete, explicit, .*Did you mean 'explicit'"),
    ],
)
def test_refusals_name_the_value(arguments: dict, message: str) -> None:
    with pytest.raises(SolverError, match=message):
        schedule(**arguments)
