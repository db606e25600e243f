"""The loop, ``solve`` and ``sample``."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from closed_form import small_mixture

from adasde.errors import SolverError
from adasde.sampling.analytic import Gaussian
from adasde.sampling.coefficients import Coefficients, neutral
from adasde.sampling.integrate import integrate, sample, solve
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import AdaSDE, Euler


def stochastic_table(dtype_grid: str = "time_uniform") -> Coefficients:
    table = neutral(schedule(dtype_grid, 3, rho=1), points=2, afs=True)
    return dataclasses.replace(table, gamma=[0.0, 0.05, 0.02])


def test_yields_every_node_beginning_with_the_start() -> None:
    x = torch.randn(2, 3, dtype=torch.float64)
    states = list(integrate(Gaussian(), x, schedule("logsnr", 4), Euler()))
    assert len(states) == 5 and states[0] is x


def test_sample_is_a_function_of_the_seed_alone() -> None:
    seeds, table = list(range(40, 52)), stochastic_table()

    def images(some: list[int]) -> torch.Tensor:
        return sample(small_mixture(), latents(some, (6,), dtype=torch.float64), table, SeededNoise(some))

    together = images(seeds)
    torch.testing.assert_close(together[5:6], images(seeds[5:6]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(together.flip(0), images(seeds[::-1]), rtol=1e-12, atol=1e-12)


def test_default_noise_is_seeded() -> None:
    start, table = latents(range(4), (6,)), stochastic_table()
    expected = sample(small_mixture(), start, table, SeededNoise(range(4)))
    torch.testing.assert_close(sample(small_mixture(), start, table), expected, rtol=0, atol=0)


def test_injection_keeps_the_marginal_of_gaussian_data() -> None:
    """Noise raises the level and the longer step removes it: the spread of the samples must not change."""
    gaussian = Gaussian(mean=0.0, std=1.0)
    grid = schedule("polynomial", 60)
    table = dataclasses.replace(neutral(grid), gamma=[0.0] + [0.05] * 59)
    out = sample(gaussian, latents(range(4000), (4,), dtype=torch.float64), table)
    assert float(out.std()) == pytest.approx(1.0, abs=0.02)


def test_gradients_of_every_coefficient_match_finite_differences() -> None:
    table, noise = stochastic_table(), SeededNoise(range(2))
    x = latents(range(2), (6,), dtype=torch.float64)
    names = ("sigmas", "gamma", "midpoint", "direction_scale", "time_scale", "weights")
    values = [getattr(table, name).clone() for name in names]
    tail = [value[1:].clone().requires_grad_() for value in values]  # gamma[0] must stay 0

    def end(*tails: torch.Tensor) -> torch.Tensor:
        whole = [torch.cat([value[:1], part]) for value, part in zip(values, tails, strict=True)]
        moved = whole[5] / whole[5].sum(1, keepdim=True)
        current = Coefficients(*whole[:5], moved, afs=True)
        walk = integrate(small_mixture(), x * 80, current.sigmas, AdaSDE(current), afs=True, noise=noise)
        return list(walk)[-1]

    assert torch.autograd.gradcheck(end, tuple(tail), eps=1e-7, atol=1e-4, rtol=1e-3)


def test_sample_and_solve_record_no_graph() -> None:
    network = torch.nn.Linear(3, 3)
    start = torch.randn(2, 3)
    grid = schedule("logsnr", 2)
    assert not solve(lambda x, s: network(x), start, grid, "euler").requires_grad
    assert not sample(lambda x, s: network(x), start, neutral(grid)).requires_grad


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        (torch.tensor([80.0]), r"at least two noise levels, got shape \[1\]"),
        (torch.tensor([80.0, 1.0, 1.0, 0.1]), r"sigmas\[1\] = 1.0 and 1.0 after it"),
        (torch.tensor([80.0, 0.0]), "look at the last, 0.0"),
        (torch.tensor([80.0, float("nan"), 1.0]), r"sigmas\[0\] = 80.0 and nan after it"),
    ],
)
def test_grids_that_are_none_are_refused(sigmas: torch.Tensor, message: str) -> None:
    with pytest.raises(SolverError, match=message):
        solve(Gaussian(), torch.zeros(1, 2), sigmas)
