"""Everything that is learned beside AdaSDE's own step: the plug-in form, parallel points, the time grid."""

from __future__ import annotations

import pytest
import torch
from closed_form import small_mixture
from learned_tables import FIXED, end_error, fresh

import adasde
from adasde.distillation.distill import DistillSettings, initial_student
from adasde.errors import CoefficientsError, ParamsError, SolverError
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import SOLVERS, make_solver, sampler_of

QUICK = {"trajectories": 1920, "batch": 32, "pool": 128}
INNER = [name for name in SOLVERS if not make_solver(name).stochastic]


def learned(nfe: int, **settings) -> adasde.Coefficients:
    return adasde.distill_coefficients(small_mixture(), (6,), nfe, dtype=torch.float64, **QUICK, **settings)


@pytest.mark.parametrize("name", INNER)
def test_plug_in_beats_the_solver_it_is_put_in_front_of(name: str) -> None:
    table = learned(5, solver=name)
    plain = adasde.solve(small_mixture(), fresh(), table.sigmas, name, afs=True)
    assert (table.nfe, table.solver) == (5, name)
    assert end_error(adasde.sample(small_mixture(), fresh(), table)) < 0.8 * end_error(plain)


@pytest.mark.parametrize("afs", [False, True])
@pytest.mark.parametrize("name", INNER)
def test_neutral_plug_in_is_the_solver(name: str, afs: bool) -> None:
    grid = schedule("polynomial", 4)
    module = initial_student(grid, settings=DistillSettings(solver=name, gamma_max=0.0), afs=afs)
    with torch.no_grad():
        ours = adasde.sample(small_mixture(), fresh(), module())
    plain = adasde.solve(small_mixture(), fresh(), grid, name, afs=afs)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["adasde", "ipndm"])
def test_learned_grid_keeps_its_ends_and_helps(name: str) -> None:
    only_grid = FIXED | {"solver": name, "learn_grid": True}
    table = learned(5, **only_grid)
    start = schedule("time_uniform", table.steps, rho=1.0)
    assert table.sigmas[[0, -1]].tolist() == start[[0, -1]].tolist()
    assert float((table.sigmas / start).log().abs().max()) > 0.05
    with torch.no_grad():
        before = initial_student(start, settings=DistillSettings(**only_grid), afs=True)()
    after = end_error(adasde.sample(small_mixture(), fresh(), table))
    assert after < 0.9 * end_error(adasde.sample(small_mixture(), fresh(), before))


def test_parametrised_grid_starts_where_it_was_told() -> None:
    grid = schedule("polynomial", 5)
    module = initial_student(grid, settings=DistillSettings(learn_grid=True), afs=False)
    torch.testing.assert_close(module.sigmas(), grid, rtol=1e-12, atol=0)


def test_analytic_first_step_of_a_plug_in_has_no_time_scale() -> None:
    module = initial_student(schedule("logsnr", 3), settings=DistillSettings(solver="euler"), afs=True)
    with torch.no_grad():
        module.time_scale.fill_(1.0)
        scales = module().time_scale
    assert float(scales[0, 0]) == 1.0 and bool((scales[1:] > 1).all())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"solver": "ipmdn"}, SolverError, "unknown solver 'ipmdn'.*Did you mean 'ipndm'"),
        (
            {"solver": "ipndm", "solver_options": {"order": 9}},
            SolverError,
            "order .* 1 to 4, got order=9",
        ),
        ({"solver": "heun", "points": 2}, ParamsError, "points = 2 belongs to adasde; heun has no points"),
        ({"learn_grid": True, "inner_weight": 1.0}, ParamsError, "set inner_weight to 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        learned(5, **settings)


def test_a_table_of_another_solver_is_refused() -> None:
    grid = schedule("logsnr", 2)
    ones = torch.ones(2, 1)
    table = adasde.Coefficients(
        grid, torch.zeros(2), torch.ones(2, 0), ones, ones, torch.ones(2, 0), False, solver="heun"
    )
    with pytest.raises(SolverError, match=r"direction_scale must have shape \[2, 2\] for 2 steps of Heun"):
        sampler_of(table)
    with pytest.raises(CoefficientsError, match=r"midpoint must have shape \[2, 0\]"):
        adasde.Coefficients(grid, torch.zeros(2), ones / 2, ones, ones, ones, False, solver="heun")


def test_plug_in_files_are_version_2_and_survive(tmp_path) -> None:
    table = learned(3, solver="ipndm", solver_options={"order": 2}, learn_grid=True)
    table.save(tmp_path / "c.json")
    loaded = adasde.Coefficients.load(tmp_path / "c.json")
    assert (loaded.solver, loaded.options, loaded.nfe) == ("ipndm", {"order": 2}, 3)
    assert '"schema_version": 2' in (tmp_path / "c.json").read_text()
    torch.testing.assert_close(
        adasde.sample(small_mixture(), fresh(), loaded),
        adasde.sample(small_mixture(), fresh(), table),
        rtol=0, atol=0,
    )  # fmt: skip
