"""AdaSDE's plug-in form in front of every deterministic solver of the registry."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor
from walk import last, rate, spread

from adasde.errors import SolverError
from adasde.sampling.analytic import Gaussian, Mixture
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate, sample
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import SOLVERS, Heun, PlugIn, make_solver, noiseless, sampler_of

DETERMINISTIC = [name for name in SOLVERS if not make_solver(name).stochastic]


def table_for(
    name: str, sigmas: Tensor, gamma: Tensor, direction: Tensor, time: Tensor, afs: bool
) -> Coefficients:
    none = torch.zeros(len(gamma), 0)
    return Coefficients(sigmas, gamma, none, direction, time, none, afs=afs, solver=name)


def small_mixture_of_3() -> Mixture:
    mixture = small_mixture()
    return Mixture(mixture.means[:, :3], mixture.weights, 0.5)


@pytest.mark.parametrize("afs", [False, True])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_neutral_table_is_the_plain_solver(name: str, afs: bool) -> None:
    inner, grid = make_solver(name), schedule("time_uniform", 6, rho=1)
    x, ones = latents(range(4), (6,), dtype=torch.float64), torch.ones(6, inner.evaluations)
    table = table_for(name, grid, torch.zeros(6), ones, ones, afs)
    expected = last(small_mixture(), grid[0] * x, grid, inner, afs=afs)
    torch.testing.assert_close(sample(small_mixture(), x, table), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("afs", [False, True])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_gradients_of_every_coefficient_match_finite_differences(name: str, afs: bool) -> None:
    generator, evaluations = torch.Generator().manual_seed(5), make_solver(name).evaluations
    x, noise = latents(range(2), (3,), dtype=torch.float64), SeededNoise(range(2))
    grid = schedule("polynomial", 3, sigma_min=0.1, sigma_max=5.0)

    def around_1() -> Tensor:
        spread = torch.rand(3, evaluations, dtype=torch.float64, generator=generator) - 0.5
        return (1 + 0.2 * spread).requires_grad_()

    gamma = torch.tensor([0.06, 0.1], dtype=torch.float64, requires_grad=True)  # the first must stay 0

    def end(tail: Tensor, direction: Tensor, time: Tensor) -> Tensor:
        table = table_for(name, grid, torch.cat([torch.zeros(1), tail]), direction, time, afs)
        walk = integrate(small_mixture_of_3(), 5 * x, grid, sampler_of(table), afs=afs, noise=noise)
        return list(walk)[-1]

    assert torch.autograd.gradcheck(end, (gamma, around_1(), around_1()), eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_one_data_point_is_reached_exactly_through_new_noise(name: str) -> None:
    """The state stays D + sigma eps with the eps that the injections make: a stale memory would not."""
    point, grid = 0.7, schedule("polynomial", 6, sigma_min=0.1, sigma_max=10.0)
    gamma, noise = torch.tensor([0.0, 0.1, 0.2, 0.05, 0.3, 0.1]), SeededNoise(range(3))
    unit = latents(range(3), (4,), dtype=torch.float64)
    plugged = PlugIn(make_solver(name), gamma.double())
    states = integrate(Gaussian(point, 0.0), point + grid[0] * unit, grid, plugged, noise=noise)
    for i, state in enumerate(states):
        torch.testing.assert_close(state, point + grid[i] * unit, rtol=1e-11, atol=1e-11)
        if i < len(gamma):
            share = 1 / (1 + gamma[i].double())
            unit = share * unit + (1 - share**2).sqrt() * noise(i, unit)


def variance_error(name: str, steps: int) -> float:
    """Of Gaussian data at the end, with gamma fixed per unit of log sigma."""
    gamma = torch.full((steps,), 0.3 * math.log(100) / steps, dtype=torch.float64)
    return abs(spread(PlugIn(make_solver(name), gamma), steps, std=0.7) - (0.7**2 + 0.1**2))


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_variance_converges_with_noise_at_a_fixed_rate(name: str) -> None:
    """Single-step solvers keep their order; a carried memory is right to order 1 (measured 0.9 to 1.03)."""
    steps, inner = (80, 320), make_solver(name)
    expected = inner.convergence if name in ("euler", "heun", "dpm2") else 1
    assert rate([variance_error(name, n) for n in steps], steps) > expected - 0.15


def test_a_solver_that_draws_noise_itself_is_refused() -> None:
    for name in set(SOLVERS) - set(DETERMINISTIC):
        with pytest.raises(SolverError, match="brings its own noise: put it in front of a deterministic"):
            PlugIn(make_solver(name), torch.zeros(3))
    assert PlugIn(noiseless("sa"), torch.zeros(3)).convergence == 2


@pytest.mark.parametrize("field", ["direction_scale", "time_scale"])
def test_scales_of_another_shape_are_refused(field: str) -> None:
    scales = {"direction_scale": torch.ones(3, 2), "time_scale": torch.ones(3, 2)}
    message = rf"{field} must have shape \[3, 2\] for 3 steps of Heun\(\), got \[3, 1\]"
    with pytest.raises(SolverError, match=message):
        PlugIn(Heun(), torch.zeros(3), **(scales | {field: torch.ones(3, 1)}))


@pytest.mark.parametrize(
    ("solver", "options", "message"),
    [
        ("heunn", {}, "unknown solver 'heunn'.*Did you mean 'heun'"),
        ("ipndm", {"ordre": 2}, "unknown option 'ordre'; known: order. Did you mean 'order'"),
        ("heun", {}, r"direction_scale must have shape \[2, 2\] for 2 steps of Heun\(\), got \[2, 1\]"),
        ("edm", {}, "brings its own noise"),
    ],
)
def test_tables_for_no_possible_solver_are_refused(solver: str, options: dict, message: str) -> None:
    grid, ones = schedule("logsnr", 2), torch.ones(2, 1)
    table = replace(
        table_for("euler", grid, torch.zeros(2), ones, ones, False), solver=solver, options=options
    )
    with pytest.raises(SolverError, match=message):
        sample(Gaussian(), latents(range(2), (3,)), table)


def test_noise_above_the_remembered_node_is_refused() -> None:
    grid = schedule("logsnr", 10, sigma_min=1.0, sigma_max=1.05)
    gamma = torch.tensor([0.0] + 9 * [0.02])
    table = PlugIn(make_solver("ipndm"), gamma)
    with pytest.raises(SolverError, match=r"above the node before it .*fewer steps or a smaller gamma"):
        list(integrate(Gaussian(), torch.randn(2, 3), grid, table))
