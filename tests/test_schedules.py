"""Grids: exact ends, monotone, equal to the released grids, clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adasde.errors import SolverError
from adasde.schedules import SCHEDULES, schedule

GOLDEN = Path(__file__).parent / "data" / "released_sampler_golden.npz"


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
    ],
)
def test_refusals_name_the_value(arguments: dict, message: str) -> None:
    with pytest.raises(SolverError, match=message):
        schedule(**arguments)
