"""Multistep formulas: their local order, the weights behind them, and where two of them are the same."""

from __future__ import annotations

import math

import pytest
import torch
from closed_form import small_mixture
from walk import last

from adasde.errors import SolverError
from adasde.sampling.analytic import Gaussian
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import (
    IPNDM,
    SA,
    AdamsBashforth,
    DPMpp,
    Euler,
    Interval,
    Node,
    Solver,
    UniPC,
    make_solver,
)
from adasde.sampling.solvers.quadrature import VARIABLES, adams_weights, preserving_time

MULTISTEP: list[tuple[Solver, int]] = [
    # the published third order takes half the second derivative: see DPMpp
    *[(DPMpp(order, False, kind), min(order, 2)) for order in (1, 2, 3) for kind in ("data", "noise")],
    *[(IPNDM(order), order) for order in (1, 2, 3, 4)],
    *[(AdamsBashforth(order, variable), order) for order in (2, 3, 4) for variable in VARIABLES],
    *[(UniPC(order, variant), order) for order in (1, 2, 3) for variant in ("bh1", "bh2")],
    *[(SA(p, c, tau=0, few_steps=few), p) for p in (1, 2, 3, 4) for c in (0, 4) for few in (True, False)],
]


@pytest.mark.parametrize(("solver", "expected"), MULTISTEP, ids=[str(pair[0]) for pair in MULTISTEP])
def test_local_error_with_an_exact_history(solver: Solver, expected: int) -> None:
    """History is explicit, so a step can be judged alone: its local error is O(h^(order+1))."""
    gaussian, errors = Gaussian(mean=0.0), []
    x0 = torch.ones(1, 1, dtype=torch.float64)
    t0 = torch.tensor(0.3, dtype=torch.float64)
    for h in (0.02, 0.01):
        equal_steps = isinstance(solver, IPNDM)
        nodes = [t0 * (1 - h * i) if equal_steps else t0 * math.exp(-h * i) for i in range(-4, 2)]
        states = [gaussian.exact(x0, t0, node) for node in nodes]
        pairs = list(zip(states, nodes, strict=True))
        history = tuple(Node(t, x, gaussian(x, t)) for x, t in pairs[:4])[::-1]
        step = Interval(9, nodes[4], nodes[5], 9, lambda like: like)
        x, _ = solver.step(gaussian, states[4], step, history)
        errors.append(float((x - states[5]).abs()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(expected + 1, abs=0.3)


@pytest.mark.parametrize(
    "solver",
    [DPMpp(1), DPMpp(1, prediction="noise"), IPNDM(1), *[AdamsBashforth(1, name) for name in VARIABLES]],
    ids=str,
)
def test_order_1_is_euler(solver: Solver) -> None:
    x, grid = torch.randn(4, 6, dtype=torch.float64), schedule("polynomial", 5)
    expected = last(small_mixture(), x, grid, Euler())
    torch.testing.assert_close(last(small_mixture(), x, grid, solver), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_equal_steps_give_the_classical_adams_bashforth_weights(order: int) -> None:
    x, grid = torch.randn(4, 6, dtype=torch.float64), torch.linspace(9, 1, 9, dtype=torch.float64)
    expected = last(small_mixture(), x, grid, IPNDM(order))
    ours = last(small_mixture(), x, grid, AdamsBashforth(order, "sigma"))
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)


def test_unipc_predicts_as_dpm_solver_pp_does_from_the_corrected_state() -> None:
    x, grid = torch.randn(4, 6, dtype=torch.float64), schedule("logsnr", 5, rho=1)
    states = [gaussian_state(x, grid, i) for i in range(3)]
    history = tuple(Node(grid[i], states[i], Gaussian()(states[i], grid[i])) for i in (1, 0))
    step = Interval(2, grid[2], grid[3], 2, lambda like: like)
    ours, memory = UniPC(2, "bh2").step(Gaussian(), states[2], step, history)
    assert not torch.equal(memory[0].state, states[2])
    expected, _ = DPMpp(2).step(lambda y, s: memory[0].output, memory[0].state, step, history)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def gaussian_state(x: torch.Tensor, grid: torch.Tensor, i: int) -> torch.Tensor:
    return Gaussian().exact(x, grid[0], grid[i])


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_quadrature_is_exact_for_polynomials_in_sigma(nodes: int) -> None:
    """On the longest step that occurs, sigma^k is integrated as (s^(k+1) - t^(k+1)) / (k + 1)."""
    sigmas = torch.tensor([40.0, 60.0, 70.0, 80.0], dtype=torch.float64)[:nodes]
    t, s = sigmas[0], torch.tensor(0.002, dtype=torch.float64)
    weights = adams_weights(list(sigmas), t, s, variable=VARIABLES["sigma"], density=lambda sigma: sigma)
    for k in range(nodes):
        ours = sum(w * node**k for w, node in zip(weights, sigmas, strict=True))
        torch.testing.assert_close(ours, (s ** (k + 1) - t ** (k + 1)) / (k + 1), rtol=1e-11, atol=0)


def test_preserving_time_inverts_the_process() -> None:
    t = torch.linspace(1e-3, 1, 7, dtype=torch.float64)
    sigma = torch.expm1(19.9 * t**2 / 2 + 0.1 * t).sqrt()
    torch.testing.assert_close(preserving_time(sigma), t, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deis", {"variable": "lgo"}, "unknown variable 'lgo'; known: log, sigma, time. Did you mean 'log'"),
        ("deis", {"order": 0}, "order .*from 1 to 4, got order=0"),
        ("unipc", {"variant": "bh3"}, "unknown variant 'bh3'; known: bh1, bh2"),
        ("unipc", {"order": 4}, "order .*from 1 to 3, got order=4"),
        ("dpm-2m", {"prediction": "data"}, "unknown option 'prediction'; known: lower_order_final"),
    ],
)
def test_refusals_say_what_is_possible(name: str, options: dict, message: str) -> None:
    with pytest.raises(SolverError, match=message):
        make_solver(name, options)


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(SolverError, match=r"unknown prediction 'nosie'; known: data, noise. Did you mean"):
        DPMpp(prediction="nosie")
