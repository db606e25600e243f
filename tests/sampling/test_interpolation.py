"""Coefficients for budgets between and beyond the distilled ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from closed_form import small_mixture
from tables import FORMS, random_table

import adasde
from adasde.errors import CoefficientsError
from adasde.sampling.coefficients import TABLE, neutral
from adasde.sampling.schedules import schedule


def same(one: adasde.Coefficients, other: adasde.Coefficients) -> None:
    for name in TABLE:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("afs", [False, True])
def test_the_same_budget_gives_the_same_table(form: str, afs: bool) -> None:
    table = random_table(form, afs=afs)
    same(table.interpolate(table.nfe), table)


@pytest.mark.parametrize("form", FORMS)
def test_other_budgets_give_valid_tables_with_the_same_ends(form: str) -> None:
    table = random_table(form, steps=4)
    for steps in (1, 2, 3, 7):
        nfe = steps * table.evaluations - 1
        if nfe < 1:
            continue
        other = table.interpolate(nfe)
        assert (other.nfe, other.solver) == (nfe, form)
        assert other.sigmas[[0, -1]].tolist() == table.sigmas[[0, -1]].tolist()
        assert other.provenance == {"interpolated_from": [table.nfe]}


def test_a_grid_that_is_even_in_log_sigma_stays_even() -> None:
    table = neutral(schedule("logsnr", 4, rho=1), afs=True)
    same(table.interpolate(9), neutral(schedule("logsnr", 5, rho=1), afs=True))


def test_a_table_between_two_lies_between_them() -> None:
    low, high = random_table(steps=3), random_table(steps=5)
    high = replace(high, midpoint=high.midpoint * 1.1, time_scale=high.time_scale * 1.3)
    between = low.interpolate(7, high)
    assert between.provenance == {"interpolated_from": [5, 9]}
    ends = low.interpolate(7).time_scale, high.interpolate(7).time_scale
    assert bool(((between.time_scale > ends[0]) & (between.time_scale < ends[1])).all())
    same(high.interpolate(7, low), between)
    same(low.interpolate(11, high), high.interpolate(11))


def test_half_as_long_a_step_brings_half_of_the_noise() -> None:
    sigmas = schedule("logsnr", 4, rho=1)
    table = replace(neutral(sigmas), gamma=torch.tensor([0.0, 0.21, 0.21, 0.21]))
    assert table.interpolate(16).gamma[-1].item() == pytest.approx(0.1)


def test_it_is_worth_something() -> None:
    """Nearer to the exact end than the neutral table of the same budget."""
    settings = {"trajectories": 2560, "batch": 64, "pool": 256, "gamma_max": 0.0}
    tables = [
        adasde.distill_coefficients(small_mixture(), (6,), nfe, dtype=torch.float64, **settings)
        for nfe in (5, 9)
    ]
    latents = adasde.latents(range(500, 700), (6,), dtype=torch.float64)
    exact = adasde.solve(small_mixture(), latents, schedule("polynomial", 200), "dpm2")
    proposed = tables[0].interpolate(7, tables[1])

    def error(table: adasde.Coefficients) -> float:
        return float((adasde.sample(small_mixture(), latents, table) - exact).square().mean())

    assert error(proposed) < 0.7 * error(neutral(proposed.sigmas, afs=True))


def test_budgets_that_cannot_be_are_refused() -> None:
    with pytest.raises(CoefficientsError, match="steps of 2 evaluations under AFS cannot spend nfe=6"):
        random_table().interpolate(6)


def test_tables_of_different_forms_are_refused() -> None:
    with pytest.raises(CoefficientsError, match=r"same solver, .* got \('adasde'.*\) and \('heun'"):
        random_table().interpolate(7, random_table("heun", steps=5))
