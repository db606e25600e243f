"""What holds for every solver and every table, with examples that hypothesis looks for."""

from __future__ import annotations

import json

import pytest
import torch
from closed_form import small_mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from walk import last

from adasde.sampling.analytic import Gaussian
from adasde.sampling.coefficients import OWN, TABLE, Coefficients
from adasde.sampling.integrate import solve
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import SOLVERS, make_solver

DETERMINISTIC = [name for name in SOLVERS if not make_solver(name).stochastic]
QUICK = settings(max_examples=15, deadline=None)


@pytest.mark.parametrize("name", SOLVERS)
@QUICK
@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5), std=st.floats(0, 2), steps=st.integers(1, 7))
def test_shift_and_scale_equivariance(name: str, scale: float, shift: float, std: float, steps: int) -> None:
    """Data a x + b on a grid scaled by a: every state scales and shifts along.

    a = 1 where the solver knows the scale of the data. Not under AFS, which knows their mean and spread.
    """
    solver = make_solver(name)
    scale = scale if solver.scale_free else 1.0
    x = 20 * latents(range(3), (4,), dtype=torch.float64)
    grid = schedule("logsnr", steps, sigma_min=0.05, sigma_max=20.0, rho=1)
    plain = last(Gaussian(0.0, std), x, grid, solver)
    moved = last(Gaussian(shift, scale * std), scale * x + shift, scale * grid, solver)
    torch.testing.assert_close(moved, scale * plain + shift, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SOLVERS)
@QUICK
@given(data=st.data(), seeds=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6), afs=st.booleans())
def test_an_image_depends_on_its_seed_alone(name: str, data, seeds: list[int], afs: bool) -> None:
    grid = schedule("polynomial", 3, sigma_min=0.05, sigma_max=20.0)

    def images(some: list[int]) -> torch.Tensor:
        start = latents(some, (6,), dtype=torch.float64)
        return solve(small_mixture(), start, grid, name, afs, SeededNoise(some))

    chosen = data.draw(st.lists(st.integers(0, len(seeds) - 1), min_size=1, max_size=6))
    alone = images([seeds[i] for i in chosen])
    torch.testing.assert_close(alone, images(seeds)[chosen], rtol=1e-10, atol=1e-10)


def rows(data: st.DataObject, steps: int, width: int, low: float, high: float) -> torch.Tensor:
    """[steps, width] numbers strictly inside (low, high)."""
    floats = st.floats(low, high, exclude_min=True, exclude_max=True)
    numbers = data.draw(st.lists(floats, min_size=steps * width, max_size=steps * width))
    return torch.tensor(numbers, dtype=torch.float64).reshape(steps, width)


@pytest.mark.parametrize("own", [True, False])
@QUICK
@given(data=st.data(), steps=st.integers(1, 5), afs=st.booleans())
def test_the_coefficient_file_is_read_back_exactly(
    tmp_path_factory, own: bool, data: st.DataObject, steps: int, afs: bool
) -> None:
    """AdaSDE's own table is of schema version 1, which older programs read; the plug-in's of version 2."""
    solver = OWN if own else data.draw(st.sampled_from(DETERMINISTIC))
    scales = data.draw(st.integers(1, 3)) if own else make_solver(solver).evaluations
    points = scales if own else 0
    weights = rows(data, steps, points, 0.1, 1)
    table = Coefficients(
        sigmas=schedule("polynomial", steps),
        gamma=torch.cat([torch.zeros(1), rows(data, steps, 1, 0, 0.5)[1:, 0]]),
        midpoint=rows(data, steps, points, 0, 1),
        direction_scale=rows(data, steps, scales, 0.5, 2),
        time_scale=rows(data, steps, scales, 0.5, 2),
        weights=weights / weights.sum(1, keepdim=True),
        afs=afs,
        solver=solver,
        options={} if own else {"lower_order_final": data.draw(st.booleans())},
        provenance={"seed": 3},
    )
    path = tmp_path_factory.mktemp("table") / "coefficients.json"
    table.save(path)
    again = Coefficients.load(path)
    for name in TABLE:
        torch.testing.assert_close(getattr(again, name), getattr(table, name), rtol=0, atol=0)
    assert (again.solver, again.options) == (table.solver, table.options)
    assert (again.afs, again.provenance, again.nfe) == (afs, {"seed": 3}, steps * (scales + own) - afs)
    assert json.loads(path.read_text())["schema_version"] == (1 if own else 2)
