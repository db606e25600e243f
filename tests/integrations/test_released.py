"""Parity with the released implementation, state by state, in float64.

``data/released_predictors.json`` and ``data/released_sampler_golden.npz``: raw parameters of the eight
released CIFAR-10 predictors, and the states of the authors' samplers (commit d938eb8) on a closed-form
mixture, on grids that the release computed in float32.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from adasde.distillation.teacher import Teacher, split
from adasde.errors import SolverError
from adasde.integrations.released import from_raw
from adasde.sampling.analytic import Gaussian, Mixture
from adasde.sampling.integrate import integrate
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import AdaSDE, make_solver

DATA = Path(__file__).parents[1] / "data"
PREDICTORS = json.loads((DATA / "released_predictors.json").read_text())


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(DATA / "released_sampler_golden.npz") as archive:
        return {key: torch.from_numpy(np.asarray(archive[key])) for key in archive.files}


@pytest.fixture(scope="module")
def mixture(golden) -> Mixture:
    return Mixture(golden["mixture_means"], golden["mixture_weights"], float(golden["mixture_std"]))


def assert_states_close(ours: list[torch.Tensor], released: torch.Tensor, rtol: float) -> None:
    assert len(ours) == len(released)
    for mine, theirs in zip(ours, released, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < rtol


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictor(name: str, golden, mixture) -> None:
    config, raw = PREDICTORS[name]["config"], PREDICTORS[name]["raw_parameters"]
    key = name.split("-")[0]
    grid = golden[f"schedule_time_uniform_1_{config['num_steps']}"]
    table = from_raw(raw, config, sigmas=grid)
    assert table.nfe == int(name.split("-")[3])
    noise = golden[f"{key}_noise"]
    start = golden[f"{key}_latents"] * grid[0]
    walk = integrate(mixture, start, grid, AdaSDE(table), afs=table.afs, noise=lambda step, like: noise[step])
    assert_states_close(list(walk), golden[f"{key}_states"], 1e-9)


@pytest.mark.parametrize(("key", "solver"), [("teacher_dpm", "dpm2"), ("teacher_heun", "heun")])
def test_teacher(key: str, solver: str, golden, mixture) -> None:
    coarse = golden["schedule_time_uniform_1_13"]
    fine = split(coarse, 2)
    walk = list(integrate(mixture, golden[f"{key}_latents"] * coarse[0], fine, make_solver(solver)))
    assert_states_close(walk[::2], golden[f"{key}_states"], 1e-5)


def test_own_grid_when_none_is_given() -> None:
    entry = next(iter(PREDICTORS.values()))
    table = from_raw(entry["raw_parameters"], entry["config"])
    torch.testing.assert_close(table.sigmas, schedule("time_uniform", 2, rho=1), rtol=0, atol=0)


@pytest.mark.parametrize(("inserted", "tolerance"), [(3, 0.08), (15, 0.005)])
def test_teacher_states_lie_near_the_exact_trajectory(inserted: int, tolerance: float) -> None:
    gaussian = Gaussian()
    start = torch.randn(4, 6, dtype=torch.float64)
    arguments = {"schedule": "time_uniform", "steps": 3, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 1.0}
    states = Teacher(inserted=inserted, substeps=2).states(gaussian, start, **arguments)
    grid = schedule("time_uniform", 3, rho=1)
    assert states.shape == (4, 4, 6)
    for state, sigma in zip(states, grid, strict=True):
        exact = gaussian.exact(80 * start, grid[0], sigma)
        torch.testing.assert_close(state, exact, rtol=tolerance, atol=tolerance)
    ends = Teacher(inserted=inserted, substeps=2).states(gaussian, start, inner=False, **arguments)
    assert torch.equal(ends, states[[0, -1]])


@pytest.mark.parametrize(("field", "value"), [("inserted", -1), ("substeps", 0), ("solver", "dpm3")])
def test_impossible_teachers_are_refused(field: str, value) -> None:
    with pytest.raises(SolverError, match=str(value)):
        Teacher(**{field: value})
