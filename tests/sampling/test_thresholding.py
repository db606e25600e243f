"""Dynamic thresholding, the option of every solver in clean estimates."""

from __future__ import annotations

import pytest
import torch
from closed_form import small_mixture

from adasde.errors import SolverError
from adasde.integrations.linear_form import linear_form
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import solve
from adasde.sampling.noise import latents
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import SOLVERS, DataPrediction, make_solver
from adasde.sampling.wrappers import Thresholded

PREDICT_DATA = [name for name, known in SOLVERS.items() if issubclass(known.solver, DataPrediction)]
OFFERED = [name for name in PREDICT_DATA if "thresholding" not in SOLVERS[name].preset]
GRID = schedule("logsnr", 5, rho=1)


def images(name: str, scale: float = 1.0, **options: bool) -> torch.Tensor:
    mixture = small_mixture()

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return scale * mixture(x, sigma)

    return solve(denoise, latents(range(4), (6,), dtype=torch.float64), GRID, name, **options)


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (3, 7), (2, 1)])
def test_clamp_at_the_quantile_of_every_sample(shape: tuple[int, ...]) -> None:
    x = 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[0] = 0.5 * x[0] / x[0].abs().max()  # inside [-1, 1]: stays as it is
    got = Thresholded(lambda state, sigma: state)(x, torch.tensor(1.0))
    s = torch.quantile(x.abs().flatten(1), 0.995, dim=1).clamp(min=1).reshape(-1, *[1] * (x.ndim - 1))
    torch.testing.assert_close(got, x.clamp(-s, s) / s, rtol=1e-12, atol=0)
    assert torch.equal(got[0], x[0])


@pytest.mark.parametrize("name", OFFERED)
def test_only_estimates_outside_the_range_of_images_change(name: str) -> None:
    # the data of the mixture reach 2: a tenth of them lies inside [-1, 1]
    assert torch.equal(images(name, 0.1, thresholding=True), images(name, 0.1))
    clamped = images(name, thresholding=True)
    assert clamped.abs().max() < 1.1 < images(name).abs().max()


@pytest.mark.parametrize("name", OFFERED)
def test_gradients_pass(name: str) -> None:
    solver = make_solver(name, {"thresholding": True})
    assert isinstance(solver, DataPrediction) and not solver.scale_free
    x = (3 * latents(range(2), (6,), dtype=torch.float64)).requires_grad_()
    solver.clean(small_mixture())(x, torch.tensor(1.0)).sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all()) and bool((x.grad != 0).any())


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in OFFERED])
def test_other_solvers_have_no_such_option(name: str) -> None:
    with pytest.raises(SolverError, match="thresholding"):
        make_solver(name, {"thresholding": True})


def test_names_of_data_prediction() -> None:
    assert set(OFFERED) == {"dpmpp-2m", "dpmpp-3m", "unipc", "unipc-3", "dpmpp-sde", "sa"}


def test_no_linear_form() -> None:
    ones = torch.ones(5, 1)
    none = torch.ones(5, 0)
    options = {"thresholding": True}
    table = Coefficients(GRID, torch.zeros(5), none, ones, ones, none, False, "dpmpp-2m", options)
    with pytest.raises(SolverError, match="no linear form"):
        linear_form(table)
