"""Wrappers: counting, analytic first step, the network's edge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.analytic import Gaussian
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate, sample, solve
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import SOLVERS, Euler, make_solver
from adasde.sampling.wrappers import AnalyticFirstStep, Counting, Edge, Finite


@pytest.mark.parametrize("afs", [False, True])
@pytest.mark.parametrize("name", SOLVERS)
def test_counted_evaluations_are_what_the_solver_says(name: str, afs: bool) -> None:
    counting = Counting(Gaussian())
    for _ in integrate(counting, torch.randn(2, 3), schedule("polynomial", 4), make_solver(name), afs=afs):
        pass
    assert counting.nfe == 4 * make_solver(name).evaluations - afs


def test_afs_direction_is_that_of_unit_gaussian_data() -> None:
    sigma = torch.tensor(80.0, dtype=torch.float64)
    x = torch.randn(3, 4, dtype=torch.float64)
    analytic = AnalyticFirstStep(Gaussian())(x, sigma)
    torch.testing.assert_close((x - analytic) / sigma, x / (1 + sigma**2).sqrt())
    close = Gaussian(mean=0.0, std=1.0)(x, sigma)
    assert float((analytic - close).abs().max()) < 1e-3


@pytest.mark.parametrize("later", [79.0, 80.0, 84.0])
def test_afs_replaces_the_first_evaluation_alone(later: float) -> None:
    x, sigma = torch.randn(3, 4, dtype=torch.float64), torch.tensor(later, dtype=torch.float64)
    wrapped = AnalyticFirstStep(Gaussian())
    assert not torch.equal(wrapped(x, torch.tensor(80.0)), Gaussian()(x, torch.tensor(80.0)))
    torch.testing.assert_close(wrapped(x, sigma), Gaussian()(x, sigma), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [0.8, 1.3])
@pytest.mark.parametrize("solver", ["adasde", "euler", "heun"])
def test_afs_saves_one_evaluation_whatever_level_the_network_is_told(solver: str, scale: float) -> None:
    """Early midpoints lie near the first node, and a learned time scale can lift them above it."""
    grid = schedule("time_uniform", 10, rho=1)
    ones = torch.ones(10, 2 if solver == "heun" else 1)
    own = ones if solver == "adasde" else torch.zeros(10, 0)
    table = Coefficients(grid, torch.zeros(10), 0.2 * own, ones, scale * ones, own, afs=True, solver=solver)
    counting = Counting(Gaussian())
    sample(counting, torch.randn(2, 3), table)
    assert counting.nfe == table.nfe


def test_edge_hands_sigma_over_in_the_dtype_of_x() -> None:
    seen: list[torch.dtype] = []

    def network(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(sigma.dtype)
        return x

    Edge(network)(torch.zeros(2, 3), torch.tensor(1.0, dtype=torch.float64))
    assert seen == [torch.float32]


@pytest.mark.parametrize("wrong", [lambda x, s: x[:1], lambda x, s: x.double()])
def test_another_shape_or_dtype_is_refused(wrong) -> None:
    with pytest.raises(SolverError, match=r"the denoiser returned .* for \[2, 3\] torch.float32"):
        list(integrate(wrong, torch.zeros(2, 3), schedule("logsnr", 2), Euler()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_output_that_is_not_finite_is_refused_where_it_appears(value: float) -> None:
    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        out = 0 * x
        if float(sigma) < 1:
            out[1, 0] = value
        return out

    grid = schedule("explicit", 3, nodes=[4.0, 2.0, 0.5, 0.25])
    message = r"NaN or infinity at sigma = 0.5 in 1 of 3 samples \(for a finite state\); it must"
    for name in ("euler", "ancestral"):
        with pytest.raises(SolverError, match=message):
            solve(broken, torch.randn(3, 2), grid, name)


def test_a_state_that_was_not_finite_before_is_named() -> None:
    x = torch.tensor([[1.0], [float("inf")]])
    with pytest.raises(SolverError, match=r"in 1 of 2 samples .its input was not finite in 1"):
        Finite(lambda x, sigma: x)(x, torch.tensor(2.0))


@pytest.mark.parametrize(
    "x", [torch.randn(2, 3), torch.full((2, 3), 4e4, dtype=torch.float16)], ids=["", "sum"]
)
def test_finite_outputs_pass_as_they_are(x: Tensor) -> None:
    """Also where their sum is not finite."""
    assert Finite(lambda x, sigma: x)(x, torch.tensor(2.0)) is x


def test_sample_refuses_what_is_not_finite_too() -> None:
    grid = schedule("logsnr", 2)
    table = Coefficients(grid, [0.0, 0.1], *[[[0.5], [0.5]]] * 3, weights=[[1.0], [1.0]], afs=False)
    with pytest.raises(SolverError, match="at sigma = 80 in 2 of 2 samples"):
        sample(lambda x, sigma: x / 0, torch.ones(2, 3), table)
