"""Every solver of the registry: order, dtype, gradients, equivariance; and what a step's formula says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor
from walk import last, observed_order, starts

from adasde.errors import SolverError
from adasde.sampling.analytic import Gaussian
from adasde.sampling.coefficients import neutral
from adasde.sampling.integrate import solve
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import (
    DPM2,
    SOLVERS,
    AdaSDE,
    History,
    Interval,
    Solver,
    Step,
    make_solver,
    noiseless,
    number,
    register,
    steps_for_nfe,
)
from adasde.types import Denoiser

TOP, BOTTOM = torch.tensor(10.0, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)


@cache
def mixture_end() -> Tensor:
    """Where the small mixture's trajectories end, by many steps."""
    fine = schedule("logsnr", 2000, sigma_min=0.1, sigma_max=10.0, rho=1)
    return last(small_mixture(), starts(), fine, DPM2())


@pytest.mark.parametrize("grid", [("logsnr", 1.0), ("polynomial", 7.0)])
@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_a_gaussian(name: str, grid: tuple[str, float]) -> None:
    solver, exact = noiseless(name), Gaussian().exact(starts(), TOP, BOTTOM)
    assert observed_order(Gaussian(), solver, exact, (160, 640), *grid) > solver.convergence - 0.15


@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_a_mixture(name: str) -> None:
    solver = noiseless(name)
    order = observed_order(small_mixture(), solver, mixture_end(), (80, 320))
    assert order > solver.convergence - 0.15


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_neutral_coefficients_are_dpm_solver_2_exactly(steps: int) -> None:
    x = torch.randn(4, 6, dtype=torch.float64)
    grid = schedule("time_uniform", steps, rho=1)
    ours = last(small_mixture(), x, grid, AdaSDE(neutral(grid)))
    torch.testing.assert_close(ours, last(small_mixture(), x, grid, DPM2()), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("points", [2, 3])
def test_neutral_points_are_the_same_point(points: int) -> None:
    x = torch.randn(4, 6, dtype=torch.float64)
    grid = schedule("time_uniform", 4, rho=1)
    many = last(small_mixture(), x, grid, AdaSDE(neutral(grid, points=points)))
    torch.testing.assert_close(many, last(small_mixture(), x, grid, DPM2()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SOLVERS)
def test_state_keeps_its_dtype(name: str, dtype: torch.dtype) -> None:
    out = solve(Gaussian(), torch.randn(2, 3, dtype=dtype), schedule("polynomial", 5), solver=name, afs=True)
    assert out.dtype == dtype and bool(torch.isfinite(out).all())


@pytest.mark.parametrize("name", SOLVERS)
def test_gradients_reach_state_and_grid(name: str) -> None:
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    grid = schedule("polynomial", 3, sigma_min=0.1, sigma_max=5.0).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, g: last(small_mixture_of_3(), x, g, make_solver(name)), (x, grid)
    )


def small_mixture_of_3():
    mixture = small_mixture()
    return type(mixture)(mixture.means[:, :3], mixture.weights, 0.5)


def test_dpm2_with_its_point_elsewhere_is_still_of_order_2() -> None:
    exact = Gaussian().exact(starts(), TOP, BOTTOM)
    assert observed_order(Gaussian(), DPM2(r=0.3), exact, (80, 320)) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize(
    ("solver", "nfe", "afs", "points", "steps"),
    [("euler", 5, False, 1, 5), ("euler", 5, True, 1, 6), ("heun", 6, False, 1, 3), ("dpm2", 5, True, 1, 3),
     ("adasde", 5, True, 1, 3), ("adasde", 5, True, 2, 2)],
)  # fmt: skip
def test_steps_for_nfe(solver: str, nfe: int, afs: bool, points: int, steps: int) -> None:
    assert steps_for_nfe(solver, nfe, afs=afs, points=points) == steps


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steps_for_nfe("dpm2", 5, afs=False), "nfe=5 is impossible; the nearest are 4 and 6"),
        (lambda: steps_for_nfe("adasde", 4, afs=True), "the first one less under AFS.*nearest are 3 and 5"),
        (lambda: steps_for_nfe("heun", 0, afs=False), "nearest are 2 and 4"),
        (lambda: make_solver("huen"), "unknown solver 'huen'.*Did you mean 'heun'"),
        (
            lambda: make_solver("ipndm", {"ordr": 3}),
            "unknown option 'ordr'; known: order. Did you mean 'order'",
        ),
        (lambda: make_solver("ipndm", {"order": 5}), "order .*from 1 to 4, got order=5"),
        (lambda: make_solver("dpm2", {"r": 1.0}), "0 < r < 1, got r=1.0"),
    ],
)
def test_refusals_say_what_is_possible(call, message: str) -> None:
    with pytest.raises(SolverError, match=message):
        call()


def test_a_new_solver_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adasde.sampling.solvers.registry.SOLVERS", dict(SOLVERS))

    @register("twice", share=0.5)
    @dataclass(frozen=True)
    class Twice(Solver):
        share: float = number(0.3, 0, 1)
        bend: float = number(1.0, 0)

        def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
            return x, history

    assert make_solver("twice", {"bend": 2.0}) == Twice(share=0.5, bend=2.0)
    assert (Twice().evaluations, Twice().convergence, Twice().stochastic) == (1, 2, False)
    assert steps_for_nfe("twice", 4, afs=True) == 5
    with pytest.raises(SolverError, match="unknown option 'share'; known: bend"):
        make_solver("twice", {"share": 0.1})
