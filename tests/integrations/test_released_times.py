"""LD3's learned times and NeuralSolver's velocities, against their formulas on a closed-form denoiser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from plain_samplers import trained_levels
from released_cases import DATA, mixture
from torch import Tensor
from typer.testing import CliRunner

from adasde.cli.main import app
from adasde.errors import CheckpointError, SolverError
from adasde.integrations.released import from_times, from_velocities, load_predictor
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import sample

TIMES = torch.tensor([80.0, 30.0, 9.0, 2.0, 0.5, 0.002], dtype=torch.float64)
EVALUATED = TIMES * torch.tensor([1.0, 1.1, 0.9, 1.05, 0.95, 1.0], dtype=torch.float64)


def off(table: Coefficients, wanted: Tensor) -> float:
    return float((sample(mixture(), DATA["latents"], table) - wanted).norm() / wanted.norm())


def saved(path: Path, **entries: object) -> Path:
    torch.save(entries, path)
    return path


def directions(factors: list[list[float]]) -> Tensor:
    """The end of a solver that combines directions per evaluated level."""
    x, known = DATA["latents"] * TIMES[0], []
    for i in range(len(TIMES) - 1):
        known.append((x - mixture()(x, EVALUATED[i])) / EVALUATED[i])
        row = factors[min(i, len(factors) - 1)]
        x = x + (TIMES[i + 1] - TIMES[i]) * sum(w * d for w, d in zip(row, reversed(known), strict=False))
    return x


def estimates() -> Tensor:
    """The end of DPM-Solver++(2M), lower order at the end."""
    x, known = DATA["latents"] * TIMES[0], []
    for i in range(len(TIMES) - 1):
        known.append(mixture()(x, EVALUATED[i]))
        ratio = TIMES[i + 1] / TIMES[i]
        clean = known[-1]
        if 0 < i < len(TIMES) - 2:
            clean = clean + (known[-1] - known[-2]) * ratio.log() / (TIMES[i] / TIMES[i - 1]).log() / 2
        x = ratio * x + (1 - ratio) * clean
    return x


@pytest.mark.parametrize(
    ("solver", "options", "wanted"),
    [
        ("euler", {}, lambda: directions([[1.0]])),
        ("ipndm", {"order": 2}, lambda: directions([[1.0], [1.5, -0.5]])),
        ("ipndm", {"order": 3}, lambda: directions([[1.0], [1.5, -0.5], [23 / 12, -16 / 12, 5 / 12]])),
        ("dpmpp-2m", {}, estimates),
    ],
)
def test_learned_times_with_a_network_that_is_given_others(solver, options, wanted, tmp_path: Path) -> None:
    assert off(from_times(TIMES, EVALUATED, solver, options=options), wanted()) < 1e-12
    path = saved(tmp_path / "best_v2.pt", best_t_steps=torch.cat([TIMES, EVALUATED]), params1=torch.ones(6))
    table = load_predictor(path, solver=solver, options=options)
    assert off(table, wanted()) < 1e-12
    assert table.provenance["origin"] == "LD3" and table.nfe == 5


def test_times_of_a_latent_model_need_its_range(tmp_path: Path) -> None:
    times = torch.tensor([1.0, 0.5005, 0.001], dtype=torch.float64)
    path = saved(tmp_path / "best_v1.pt", best_t_steps=torch.cat([times, times]))
    with pytest.raises(CheckpointError, match="range of noise levels of 'its data set' is not known"):
        load_predictor(path, solver="ipndm")
    table = load_predictor(path, solver="ipndm", model="ms_coco")
    levels = torch.from_numpy(trained_levels("ms_coco"))
    middle = torch.expm1((levels[499] + levels[500]) / 2).sqrt()
    wanted = torch.stack([torch.expm1(levels[-1]).sqrt(), middle, torch.expm1(levels[0]).sqrt()])
    torch.testing.assert_close(table.sigmas, wanted, rtol=1e-5, atol=0)
    assert table.model == {"name": "ms_coco", "guidance": 7.5}
    path = saved(tmp_path / "best_v2.pt", best_t_steps=torch.cat([times, times * 0.9]))
    with pytest.raises(CheckpointError, match=r"best_v2.pt: .*cannot be expressed .* another time"):
        load_predictor(path, solver="ipndm", model="ms_coco")


def test_the_command_line_takes_the_solver(tmp_path: Path) -> None:
    path = str(saved(tmp_path / "best_v2.pt", best_t_steps=torch.cat([TIMES, EVALUATED])))
    words = ["import-released", path, "--out", str(tmp_path / "out"), "--model", "cifar10", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "give --solver, one of ipndm" in result.output
    result = CliRunner().invoke(app, [*words, "--solver", "ipndm:order=2"])
    (one,) = json.loads(result.output)["predictors"]
    assert (one["solver"], one["model"], one["origin"]) == ("ipndm", "cifar10", "LD3")
    assert Coefficients.load(one["out"]).options == {"order": 2}


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (
            {"ema": {"decay": 0.999, "shadow_params": [torch.ones(3)]}},
            "because GS and GAS weigh",
        ),
        ({"dyweight_weights_raw": torch.ones(3, 3), "window_size": 2}, "because for a flow matching model"),
        ({"state_dict": {"a": torch.ones(2)}}, r"no learned times \(best_t_steps\)"),
        ({"best_t_steps": torch.ones(3)}, r"no learned times \(best_t_steps\)"),
    ],
)
def test_what_no_table_can_express_says_why(entries, why: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"a.pt: .*{why}"):
        load_predictor(saved(tmp_path / "a.pt", **entries))


def velocities(intervals: Tensor, factors: Tensor) -> Tensor:
    """The end of NeuralSolver's update: u falls from 1 to 0, velocities with the newest taking the rest."""
    x, u, known = DATA["latents"], torch.tensor(1.0, dtype=torch.float64), []
    for i in range(len(intervals)):
        share = u.clamp(1e-9, 1 - 1e-9)
        known.append((x - mixture()(x / (1 - share), share / (1 - share))) / share)
        row = [*factors[i, :i], 1 - factors[i, :i].sum()]
        x = x - intervals[i] * sum(c * v for c, v in zip(row, known, strict=True))
        u = u - intervals[i]
    return x


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_velocities_are_a_multistep_form(steps: int) -> None:
    torch.manual_seed(steps)
    intervals = torch.softmax(torch.randn(steps).double() / 2, dim=0)
    factors = 0.5 * torch.randn(steps, steps).double()
    table = from_velocities(intervals, factors)
    assert (table.nfe, table.solver) == (steps, "adasde-multistep")
    assert off(table, velocities(intervals, factors)) < 1e-3
    with pytest.raises(SolverError, match="must add up to 1, got 2"):
        from_velocities(2 * intervals, factors)
