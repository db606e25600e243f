"""The paper's baseline rows, state by state against the code that the paper's baselines come from.

``data/baseline_golden.npz``: grids and states of zju-pi/diff-sampler (commit 68d5ce4, ``diff-solvers-main``)
in float64 on a closed-form mixture, with the settings of its launch.sh; DPM-Solver-2 and Heun under AFS. Keys
are a solver's name, the evaluations, and ``sigmas`` or ``states``. Its UniPC returns corrected states, which
ours keeps in the history: of those the last one compares. ``support/golden_baselines.py`` is the recipe.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adasde.config.baselines import PAPER_BASELINES
from adasde.config.params import check_params
from adasde.config.sections import Baseline
from adasde.errors import ParamsError
from adasde.sampling.analytic import Mixture
from adasde.sampling.integrate import integrate
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import make_solver
from adasde.sampling.wrappers import Counting

DATA = Path(__file__).parents[1] / "data"
BUDGETS = (3, 5, 7)
KEYS = {"DDIM": "ddim", "Heun + AFS": "heun", "DPM-Solver-2 + AFS": "dpm2", "iPNDM": "ipndm"}
KEYS |= {"DPM-Solver++(3M)": "dpmpp-3m", "UniPC": "unipc-3"}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(DATA / "baseline_golden.npz") as archive:
        return {key: torch.from_numpy(np.asarray(archive[key])) for key in archive.files}


def states(row: Baseline, grid: torch.Tensor, golden: dict[str, torch.Tensor], afs: bool) -> torch.Tensor:
    mixture = Mixture(golden["mixture_means"], golden["mixture_weights"], float(golden["mixture_std"]))
    solver = make_solver(row.solver, row.options)
    start = golden["latents"] * grid[0]
    return torch.stack(list(integrate(mixture, start, grid, solver, afs=afs)))


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    """``theirs``: all states, or the last one."""
    torch.testing.assert_close(ours[-len(theirs) :], theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("nfe", BUDGETS)
@pytest.mark.parametrize("label", PAPER_BASELINES)
def test_states(label: str, nfe: int, golden) -> None:
    row, key = Baseline.model_validate(PAPER_BASELINES[label]), f"{KEYS[label]}_{nfe}"
    steps = row.steps(nfe)
    assert steps is not None
    grid = schedule(row.schedule, steps, rho=row.rho)
    torch.testing.assert_close(grid, golden[f"{key}_sigmas"], rtol=2e-7, atol=0)  # theirs pass float32
    ours = states(row, golden[f"{key}_sigmas"], golden, row.afs)
    assert_equal(ours, golden[f"{key}_states"], 1e-9)


@pytest.mark.parametrize("label", ["DPM-Solver++(3M)", "UniPC"])
def test_thresholding_takes_the_analytic_first_step_too(label: str, golden) -> None:
    row = Baseline.model_validate(PAPER_BASELINES[label])
    grid = schedule(row.schedule, 6, rho=row.rho)
    expected = golden[f"{KEYS[label]}_afs_states"]
    assert_equal(states(row, grid, golden, True), expected, 1e-6)


@pytest.mark.parametrize("label", ["DPM-Solver++(3M)", "UniPC"])
def test_the_golden_states_need_thresholding(label: str, golden) -> None:
    row = Baseline.model_validate({**PAPER_BASELINES[label], "options": {}})
    key = f"{KEYS[label]}_5"
    ours = states(row, golden[f"{key}_sigmas"], golden, row.afs)
    assert float((ours[-1] - golden[f"{key}_states"][-1]).abs().max()) > 0.01


@pytest.mark.parametrize("nfe", (3, 5, 7, 9))
@pytest.mark.parametrize("label", PAPER_BASELINES)
def test_every_row_spends_the_budgets_of_the_paper(label: str, nfe: int, golden) -> None:
    row = Baseline.model_validate(PAPER_BASELINES[label])
    steps = row.steps(nfe)
    assert steps is not None
    counted = Counting(Mixture(golden["mixture_means"], golden["mixture_weights"], 0.3))
    grid, solver = schedule(row.schedule, steps, rho=row.rho), make_solver(row.solver, row.options)
    for _ in integrate(counted, golden["latents"] * 80, grid, solver, afs=row.afs):
        pass
    assert counted.nfe == nfe


def test_params_name_them_in_a_word() -> None:
    values = {"model": "digits", "nfe": [3, 5]}
    params = check_params(values | {"baselines": "paper"})
    assert params == check_params(values | {"baselines": PAPER_BASELINES})
    assert params.at(5).params.baselines["iPNDM"].options == {"order": 4}
    with pytest.raises(ParamsError, match="baselines"):
        check_params(values | {"baselines": "papers"})
