"""AdaSDE's multistep form: learned weights of earlier evaluations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from closed_form import small_mixture
from learned_tables import FIXED, end_error, fresh
from tables import random_table

import adasde
from adasde.distillation.distill import DistillSettings, initial_student
from adasde.errors import CoefficientsError, ParamsError
from adasde.sampling.coefficients import MULTISTEP
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers.formulas import plus


@pytest.mark.parametrize("afs", [False, True])
@pytest.mark.parametrize("history", [1, 2, 3])
def test_its_start_is_ipndm(afs: bool, history: int) -> None:
    grid = schedule("polynomial", 5)
    settings = DistillSettings(solver=MULTISTEP, history=history, **FIXED)
    with torch.no_grad():
        table = initial_student(grid, settings=settings, afs=afs)()
    plain = adasde.solve(small_mixture(), fresh(), grid, "ipndm", afs=afs, order=history)
    torch.testing.assert_close(adasde.sample(small_mixture(), fresh(), table), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nfe", [3, 4])
def test_learned_history_beats_the_plug_in_with_the_same_scales(nfe: int) -> None:
    quick = {"trajectories": 9600, "batch": 32, "pool": 256, "gamma_max": 0.0, "dtype": torch.float64}
    errors = [
        end_error(
            adasde.sample(
                small_mixture(),
                fresh(),
                adasde.distill_coefficients(small_mixture(), (6,), nfe, solver=solver, **quick),
            )
        )
        for solver in (MULTISTEP, "ipndm")
    ]
    assert errors[0] < 0.7 * errors[1]


def test_gradients_reach_every_weight_of_an_evaluation_that_there_is() -> None:
    module = initial_student(
        schedule("time_uniform", 4), settings=DistillSettings(solver=MULTISTEP, learn_grid=True), afs=True
    )
    table = module()
    walk = adasde.sampling.integrate.integrate(
        small_mixture(), fresh() * 80, table.sigmas, adasde.sampling.solvers.sampler_of(table), afs=True
    )
    (*_, end) = walk
    end.square().mean().backward()
    known = torch.ones(4, 4).tril().bool()
    known[:, 0] = False  # the newest bears what the others leave
    assert bool((module.weights.grad[known] != 0).all()) and bool((module.weights.grad[~known] == 0).all())
    assert module.intervals is not None and bool((module.intervals.grad != 0).all())


def test_noise_is_learned_from_the_first_evaluation_on() -> None:
    settings = DistillSettings(solver=MULTISTEP, gamma_max=0.5)
    for afs, quiet in ((True, 2), (False, 1)):
        gamma = initial_student(schedule("time_uniform", 4), settings=settings, afs=afs)().gamma
        assert bool((gamma[:quiet] == 0).all()) and bool((gamma[quiet:] > 0).all())


def test_noise_of_any_size_is_carried() -> None:
    """The raised level may lie above the node before: no polynomial goes through the nodes."""
    table = replace(random_table(MULTISTEP, steps=5), gamma=torch.tensor([0.0, 0.0, 9.0, 30.0, 3.0]))
    assert bool(adasde.sample(small_mixture(), fresh(), table).isfinite().all())


def test_its_files_are_version_3(tmp_path: Path) -> None:
    table = random_table(MULTISTEP)
    table.save(tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["schema_version"] == 3
    loaded = adasde.Coefficients.load(tmp_path / "c.json")
    assert (loaded.solver, loaded.nfe, loaded.points) == (MULTISTEP, table.steps - 1, 0)
    torch.testing.assert_close(loaded.weights, table.weights, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": torch.full((3, 2), 0.5)}, r"weights must be 0 for evaluations before the first step"),
        ({"weights": torch.ones(3, 0)}, r"weights must have shape \[3, 1\] for 3 steps"),
        ({"weights": torch.ones(3, 1) * 2}, r"weights must be finite, and each row must sum to 1"),
        ({"time_scale": torch.ones(3, 2)}, r"time_scale must have shape \[3, 1\]"),
        ({"midpoint": torch.ones(3, 1) / 2}, r"midpoint must have shape \[3, 0\]"),
    ],
)
def test_tables_that_are_none_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(CoefficientsError, match=message):
        replace(random_table(MULTISTEP), **changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": MULTISTEP, "history": 0}, "history = 0: it must be at least 1"),
        ({"solver": MULTISTEP, "solver_options": {"order": 2}}, "adasde-multistep has no solver_options"),
        ({"solver": MULTISTEP, "points": 2}, "points = 2 belongs to adasde; adasde-multistep has no points"),
    ],
)
def test_settings_that_contradict_the_form_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        DistillSettings(**settings)


def test_a_shorter_walk_folds_what_it_cannot_remember_into_the_oldest() -> None:
    sigmas = schedule("logsnr", 4, rho=1)
    weights = torch.tensor([[1.0, 0, 0], [1.5, -0.5, 0], [1.75, -1.25, 0.5], [1.75, -1.25, 0.5]])
    ones, none = torch.ones(4, 1), torch.ones(4, 0)
    table = adasde.Coefficients(sigmas, torch.zeros(4), none, ones, ones, weights, False, solver=MULTISTEP)
    short = table.interpolate(2)
    assert short.weights[0].tolist() == pytest.approx([1, 0, 0])
    assert short.weights[1].tolist() == pytest.approx([1.75, -0.75, 0])


@pytest.mark.parametrize(
    ("dtype", "rounding"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 0.05)]
)
def test_a_sum_of_terms_has_the_same_bits_with_and_without_a_graph(
    dtype: torch.dtype, rounding: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    x, *terms = torch.randn(4, 5, 7, generator=generator).to(dtype)
    factors = torch.tensor([0.3, -1.7, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    with_graph = plus(x, factors, terms)
    with torch.no_grad():
        assert torch.equal(plus(x, factors, terms), with_graph)
    products = (factor * term.double() for factor, term in zip(factors, terms, strict=False))
    torch.testing.assert_close(with_graph, (x.double() + sum(products)).to(dtype), rtol=0, atol=rounding)


def test_gradients_of_a_sum_of_terms() -> None:
    x, *terms = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    factors = torch.tensor([0.3, -1.7, 2.0, 0.5], dtype=torch.float64)
    given = [value.requires_grad_() for value in (x, factors, *terms)]
    assert torch.autograd.gradcheck(lambda x, factors, *terms: plus(x, factors, terms), given)
