"""Solvers that draw noise: without it, in distribution (weak order), and path by path (strong order)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor
from walk import last, rate, spread

from adasde.errors import SolverError
from adasde.sampling.analytic import Gaussian
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import (
    SA,
    SOLVERS,
    Ancestral,
    DPMpp,
    DPMppSDE,
    EDMSampler,
    Euler,
    Heun,
    Solver,
    UniPC,
    make_solver,
    noiseless,
)

STOCHASTIC = [name for name in SOLVERS if make_solver(name).stochastic]


def no_noise(step: int, like: Tensor) -> Tensor:
    raise AssertionError("noise was drawn")


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_can_be_turned_off(name: str) -> None:
    solver = noiseless(name)
    assert not solver.stochastic
    last(Gaussian(), torch.ones(2, 3), schedule("polynomial", 4), solver, noise=no_noise)


@pytest.mark.parametrize(
    ("deterministic", "parent"),
    [
        (EDMSampler(churn=0), Heun()),
        (Ancestral(eta=0), Euler()),
        (DPMppSDE(eta=0), DPMpp(2)),
        (DPMppSDE(eta=0, lower_order_final=False), DPMpp(2, lower_order_final=False)),
        (SA(1, 0, tau=0), Euler()),
        (SA(1, 2, tau=0), UniPC(1, "bh1")),
        (SA(2, 3, tau=0), UniPC(2, "bh1")),
        (SA(3, 4, tau=0), UniPC(3, "bh1")),
        (SA(3, 4, tau=0, lower_order_final=False), UniPC(3, "bh1", lower_order_final=False)),
        (SA(2, 2, low=0.01, high=0.02), SA(2, 2, tau=0)),
        (EDMSampler(low=0.01, high=0.02), Heun()),
    ],
    ids=str,
)
def test_without_noise_it_is_its_deterministic_parent(deterministic: Solver, parent: Solver) -> None:
    x, grid = (
        10 * torch.randn(4, 6, dtype=torch.float64),
        schedule("polynomial", 7, sigma_min=0.05, sigma_max=10),
    )
    expected = last(small_mixture(), x, grid, parent)
    ours = last(small_mixture(), x, grid, deterministic, noise=no_noise)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def weak_order(solver: Solver, steps: tuple[int, int] = (80, 320), std: float = 0.7) -> float:
    exact = std**2 + 0.1**2
    return rate([abs(spread(solver, n, std) - exact) for n in steps], steps)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_variance_of_a_gaussian_converges(name: str) -> None:
    assert weak_order(make_solver(name)) > 0.9


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        (Ancestral(), 1),
        (Ancestral(eta=0.5), 1),
        (DPMppSDE(), 2),
        (DPMppSDE(eta=0.5), 2),
        (SA(1, 0), 1),
        (SA(), 2),
        (SA(3, 3), 2),
        (EDMSampler(churn=4.0), 2),
    ],
    ids=str,
)
def test_weak_order(solver: Solver, expected: int) -> None:
    assert weak_order(solver) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_one_data_point_is_reached_with_the_exact_spread(name: str) -> None:
    assert spread(make_solver(name), 5, std=0.0) == pytest.approx(0.1**2, rel=1e-12)


def coarser(noise: Tensor, grid: Tensor, every: int) -> Tensor:
    """The standard normal noise of every coarse step that the fine steps' noise adds up to.

    In a step from t to s the noise s sqrt(1 - (s/t)^2) z joins (s/t)^2 x, for the fine steps and the coarse.
    """
    out = []
    for i in range(0, len(noise), every):
        total = torch.zeros_like(noise[0])
        for k in range(i, i + every):
            kept = (grid[k + 1] / grid[k]) ** 2
            total = kept * total + grid[k + 1] * (1 - kept).sqrt() * noise[k]
        out.append(total / (grid[i + every] * (1 - (grid[i + every] / grid[i]) ** 2).sqrt()))
    return torch.stack(out)


@pytest.mark.parametrize("solver", [Ancestral(), DPMppSDE(), SA(), SA(3, 3)], ids=str)
def test_strong_order(solver: Solver) -> None:
    """The same Brownian path on grids of 32 and 128 steps, against 1024 (components overlap: no jumps)."""
    generator, steps = torch.Generator().manual_seed(0), 1024
    x = 10 * torch.randn(64, 6, dtype=torch.float64, generator=generator)
    fine = torch.randn(steps, 64, 6, dtype=torch.float64, generator=generator)
    grid = schedule("logsnr", steps, sigma_min=0.1, sigma_max=10.0, rho=1)
    mixture = replace(small_mixture(), std=1.0)
    exact = last(mixture, x, grid, DPMppSDE(), noise=lambda i, like: fine[i])
    errors = []
    for every in (32, 8):
        noise = coarser(fine, grid, every)
        end = last(mixture, x, grid[::every], solver, noise=lambda i, like, noise=noise: noise[i])
        errors.append(float((end - exact).square().mean().sqrt()))
    assert rate(errors, (32, 128)) > 0.9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("edm", {"churn": -1.0}, "churn to be a number 0 or more, got churn=-1.0"),
        ("edm", {"noise_scale": math.inf}, "noise_scale to be a number 0 or more, got noise_scale=inf"),
        ("edm", {"low": 2.0, "high": 1.0}, "needs 0 <= low < high, got low=2.0, high=1.0"),
        ("ancestral", {"eta": 1.5}, "eta to be a number from 0 to 1, got eta=1.5"),
        ("ancestral", {"eta": "1"}, "got eta='1'"),
        ("dpmpp-sde", {"eta": math.nan}, "eta to be a number 0 or more, got eta=nan"),
        (
            "sa",
            {"predictor_order": 0},
            "a whole number from 1 to 4, got predictor_order=0",
        ),
        ("sa", {"corrector_order": 2.5}, "corrector_order to be a whole number from 0 to 4"),
        ("sa", {"tau": -0.1}, "tau to be a number 0 or more"),
        ("sa", {"tua": 0.1}, "unknown option 'tua'.*Did you mean 'tau'"),
    ],
)
def test_refusals_say_what_is_possible(name: str, options: dict, message: str) -> None:
    with pytest.raises(SolverError, match=message):
        make_solver(name, options)
