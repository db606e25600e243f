"""Distillation that begins with a table instead of the fixed start."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from closed_form import small_mixture
from command import adasde as command
from command import explained
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import FORMS, random_table
from tiny import tiny_values, write_params

import adasde
from adasde.distillation.distill import DistillSettings, batches_of, distill, initial_student
from adasde.errors import CoefficientsError
from adasde.sampling.coefficients import OWN, TABLE, Coefficients
from adasde.sampling.schedules import schedule

WIDE: dict[str, Any] = {"gamma_max": 0.5, "scale_dir": 0.9, "scale_time": 0.9}


def begun(table: Coefficients, **changes: Any) -> Coefficients:
    """What distillation begins with, when told to begin with ``table``."""
    own = table.solver == OWN
    form = {"solver": table.solver, "solver_options": table.options, "points": table.points if own else 1}
    form |= {"history": max(1, table.weights.shape[1])}
    chosen = DistillSettings(**(form | WIDE | changes))
    grid = schedule("polynomial", table.steps, sigma_min=0.01, sigma_max=80.0)
    with torch.no_grad():
        return initial_student(grid, settings=chosen, afs=table.afs, start=table)()


def same(one: Coefficients, other: Coefficients) -> None:
    for name in TABLE:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-13)
    assert (one.solver, one.options, one.afs) == (other.solver, other.options, other.afs)


def fits(table: Coefficients) -> Coefficients:
    """Without the time scale that a plug-in's analytic first step does not use."""
    if not table.afs or table.solver == OWN:
        return table
    times = table.time_scale.clone()
    times[0, 0] = 1
    return replace(table, time_scale=times)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("learn_grid", [False, True])
@settings(max_examples=15, deadline=None)
@given(
    steps=st.integers(1, 5),
    points=st.integers(1, 3),
    afs=st.booleans(),
    gamma=st.sampled_from([0.0, 0.01, 0.4]),
)
def test_the_table_comes_back(
    form: str, learn_grid: bool, steps: int, points: int, afs: bool, gamma: float
) -> None:
    table = fits(random_table(form, steps=steps, points=points, afs=afs, gamma=gamma))
    found = begun(table, learn_grid=learn_grid)
    none = table.gamma == 0
    assert float((found.gamma * none).max()) <= 1.1e-6 * WIDE["gamma_max"]
    same(replace(found, gamma=found.gamma.masked_fill(none, 0)), table)


def losses(start: Coefficients | None, **changes: Any) -> list[float]:
    """Squared errors at the end, over eight iterations on a mixture."""
    chosen = DistillSettings(trajectories=256, batch=32, **changes)
    ends: dict[str, Any] = {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 1.0}
    states = adasde.Teacher().states(
        small_mixture(), adasde.latents(range(64), (6,)), schedule="time_uniform", steps=3, **ends
    )
    batches = batches_of(states, range(64), 32, seed=0)
    grid = schedule("time_uniform", 3, **ends)
    return [step.losses[-1] for step in distill(small_mixture(), batches, grid, settings=chosen, start=start)]


def test_a_good_table_begins_with_its_loss() -> None:
    quick: dict[str, Any] = {"trajectories": 1920, "batch": 32, "pool": 128}
    learned = adasde.distill_coefficients(small_mixture(), (6,), 5, **quick)
    fresh, further = losses(None), losses(learned, lr=1e-6, lr_final=1e-6)
    assert further[0] < 0.5 * fresh[0]
    again = losses(learned, lr=1e-6, lr_final=1e-6, learn_grid=True)
    assert again[0] == pytest.approx(further[0], rel=1e-5)  # the same batch by the same table
    assert max(further) < fresh[0]


def test_another_budget_is_interpolated_and_noted() -> None:
    quick: dict[str, Any] = {"trajectories": 32, "batch": 32, "pool": 64, "lr": 1e-9, "lr_final": 0.0}
    five = adasde.distill_coefficients(small_mixture(), (6,), 5, **quick)
    seven = adasde.distill_coefficients(small_mixture(), (6,), 7, start=five, **quick)
    for name in TABLE:
        wanted = getattr(five.interpolate(7), name)
        torch.testing.assert_close(getattr(seven, name), wanted, rtol=1e-6, atol=1e-6)
    assert seven.provenance["start"]["nfe"] == 5 and len(seven.provenance["start"]["sha256"]) == 64
    assert "start" not in five.provenance


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        (random_table("ipndm"), {"solver": OWN}, r"they have solver = 'ipndm', and 'adasde' is to be"),
        (random_table(points=2), {"points": 1}, r"they have points = 2, and 1 is to be distilled\."),
        (random_table(sigma_max=14.0), {}, r"from sigma 14 to 0\.01, and the schedule from 80 to 0\.01\."),
        (
            random_table(gamma=0.1),
            {"gamma_max": 0.1},
            r"\|gamma\| goes to 0\.1, .*Set distill\.gamma_max above",
        ),
        (random_table(gamma=0.1), {"gamma_max": 0.0}, r"distill\.gamma_max = 0 does not allow"),
        (
            random_table(),
            {"scale_dir": 0.01},
            r"\|direction_scale - 1\| goes to .*distill\.scale_dir = 0\.01",
        ),
        (random_table(), {"scale_time": 0.0}, r"\|time_scale - 1\| goes to .*distill\.scale_time = 0 does"),
        (
            replace(random_table(points=2), weights=torch.tensor([[1.0, 0.0]] * 3)),
            {},
            r"it learns weights above 0, and theirs are not\.",
        ),
        (
            replace(random_table(), sigmas=schedule("logsnr", 3, sigma_min=0.01, sigma_max=80.0)),
            {"inner_weight": 1.0},
            r"inner nodes are not those of the schedule.*Set distill\.inner_weight to 0\.",
        ),
    ],
)
def test_tables_that_do_not_fit(table: Coefficients, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CoefficientsError, match=rf"distillation cannot start from these.*{message}"):
        begun(table, **changes)


def test_afs_and_budgets_that_do_not_fit() -> None:
    grid = schedule("polynomial", 3, sigma_min=0.01, sigma_max=80.0)
    for table, afs, what in (
        (random_table(afs=False), True, "afs = False, and True"),
        (random_table(steps=4), True, "steps = 4, and 3"),
    ):
        with pytest.raises(CoefficientsError, match=what):
            initial_student(grid, settings=DistillSettings(**WIDE), afs=afs, start=table)
    with pytest.raises(
        CoefficientsError, match=r"cannot start from these .* cannot spend nfe=6.*distill\.start"
    ):
        adasde.distill_coefficients(small_mixture(), (6,), 6, afs=False, start=random_table())


@pytest.fixture
def told(project: Path) -> Callable[..., Path]:
    """Writes params.yaml of the finished project with changes of ``distill``."""

    def told(**changes: Any) -> Path:
        values = tiny_values()
        values["distill"] |= changes
        write_params(project, values)
        return project

    return told


def test_the_stage_begins_with_the_table_of_params(told: Callable[..., Path]) -> None:
    before = told() / "data/distill/nfe3/custom/coefficients.json"
    start = before.rename(before.parents[4] / "start.json")
    folder = told(start="start.json", lr=1e-9, lr_final=0.0)
    assert command(["distill", "--nfe", "3"], folder).code == 0
    first, again = Coefficients.load(start), Coefficients.load(before)
    for name in TABLE:
        torch.testing.assert_close(getattr(again, name), getattr(first, name), rtol=1e-6, atol=1e-6)
    made = again.provenance
    assert made["params"]["distill"]["start"] == "start.json" and made["start"]["nfe"] == 3
    assert "start" not in first.provenance["params"]["distill"]
    assert json.loads(before.read_text())["provenance"]["start"] == made["start"]


def test_the_stage_refuses_a_table_that_is_none(told: Callable[..., Path]) -> None:
    folder = told(start="nowhere.json")
    explained(command(["distill", "--nfe", "3"], folder), "cannot read coefficients", "nowhere.json")
    random_table("ipndm", sigma_min=0.002).save(folder / "other.json")
    told(start="other.json")
    explained(command(["distill", "--nfe", "3"], folder), "cannot start", "'ipndm'", "distill.start")
