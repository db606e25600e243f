"""The bench: what it measures, that it resumes, and what it says of what does not exist."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import adasde as run_command

from adasde.errors import AdaSDEError, DataError, ParamsError, SolverError
from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.cells import Measure, SamplerSpec
from adasde.experiments.bench.distances import sliced_wasserstein
from adasde.experiments.bench.output import bench_table, write_outputs
from adasde.experiments.bench.plan import BenchPlan, deciding_first
from adasde.experiments.bench.results import best_rows, ratios
from adasde.experiments.bench.run import bench
from adasde.experiments.bench.samplers import (
    LEARNED,
    Classical,
    ScheduleSpec,
    all_classical,
    parse_learned,
    parse_schedule,
    parse_solver,
    with_recipe,
)
from adasde.experiments.bench.settings import VALIDATION_SEED, BenchSettings
from adasde.experiments.bench.targets import target
from adasde.sampling.solvers import SOLVERS

TINY = BenchSettings(
    targets=("mixture:0.05",),
    nfe=(3, 4),
    classical=(Classical("euler"), Classical("heun"), Classical("ipndm", {"order": 2})),
    learned=(),
    images=40,
    ranges=2,
    choice_images=30,
    floor_steps=10,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("bench")
    return out, bench(TINY, out)


def test_every_feasible_combination_is_measured_and_no_other(tiny) -> None:
    rows = tiny[1]["targets"]["mixture:0.05"]["rows"]
    seen = {(row["label"], row["nfe"], row["afs"]) for row in rows}
    always = {
        (label, nfe, afs) for label in ("euler", "ipndm order=2") for nfe in (3, 4) for afs in (False, True)
    }
    assert seen == always | {("heun", 3, True), ("heun", 4, False)}
    assert all(row["measured_nfe"] == row["nfe"] for row in rows)
    assert all(set(row["tried"]) == {"polynomial 7", "logsnr", "time_uniform"} for row in rows)


def test_the_best_schedule_is_chosen_on_seeds_that_are_not_reported(tiny) -> None:
    for row in tiny[1]["targets"]["mixture:0.05"]["rows"]:
        assert row["schedule"] == min(row["tried"], key=row["tried"].__getitem__)
        values = row["metrics"]["sliced_wasserstein"]["values"]
        assert len(values) == 2 and row["tried"][row["schedule"]] not in values
    assert TINY.first_seed + 2 * 40 <= VALIDATION_SEED


def test_a_cell_is_what_sampling_by_hand_gives(tiny) -> None:
    import adasde

    row = next(row for row in tiny[1]["targets"]["mixture:0.05"]["rows"] if row["label"] == "heun")
    goal = target("mixture:0.05")
    grid = parse_schedule(row["schedule"].replace(" ", ":")).sigmas(
        row["steps"], sigma_min=0.002, sigma_max=80.0
    )
    start = adasde.latents(range(2_000_000, 2_000_040), (16,), dtype=torch.float64)
    states = adasde.solve(goal.bind([0]), start, grid, "heun", afs=row["afs"])
    for name, value in goal.evaluate(states).items():
        assert row["metrics"][name]["values"][0] == pytest.approx(value, rel=1e-9)


def test_a_cell_that_is_done_is_not_done_again(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    out, first = tiny

    def never(self, store):
        raise AssertionError("computed again")

    monkeypatch.setattr(Measure, "compute", never)
    assert bench(TINY, out)["targets"] == first["targets"]
    with pytest.raises(AssertionError, match="computed again"):
        bench(replace(TINY, images=41), out)


def test_another_metric_can_decide(tiny) -> None:
    result = bench(replace(TINY, metric="frechet"), tiny[0])["targets"]["mixture:0.05"]
    assert result["metrics"] == ["frechet", "sliced_wasserstein"]
    for row in result["rows"]:
        assert row["schedule"] == min(row["tried"], key=row["tried"].__getitem__)
    assert [row["tried"] for row in result["rows"]] != [
        row["tried"] for row in tiny[1]["targets"]["mixture:0.05"]["rows"]
    ]


def test_a_damaged_cell_is_computed_again(tiny, tmp_path: Path) -> None:
    first, out = tiny[1], tmp_path
    bench(TINY, out)  # in a folder of its own: others have added cells to the shared one
    victim = sorted((out / "cells").glob("*.json"))[0]
    whole = json.loads(victim.read_text())
    victim.write_text(victim.read_text()[:-20])
    again = bench(TINY, out)
    assert [row["metrics"] for row in again["targets"]["mixture:0.05"]["rows"]] == [
        row["metrics"] for row in first["targets"]["mixture:0.05"]["rows"]
    ]
    assert json.loads(victim.read_text())["identity"] == whole["identity"]


def test_workers_do_not_change_the_numbers(tiny, tmp_path: Path) -> None:
    some = replace(TINY, nfe=(3,), classical=(Classical("euler"),))
    rows = bench(some, tmp_path, workers=2)["targets"]["mixture:0.05"]["rows"]
    same = [r for r in tiny[1]["targets"]["mixture:0.05"]["rows"] if (r["label"], r["nfe"]) == ("euler", 3)]
    assert [row["metrics"] for row in rows] == [row["metrics"] for row in same]


def test_outputs_for_people_and_programs(tiny, tmp_path: Path) -> None:
    files = write_outputs(tiny[1], tmp_path)
    page = Path(files["out"]).read_text()
    assert "ipndm order=2" in page and "data:image/png;base64," in page and "2 disjoint ranges of 40" in page
    with Path(files["csv"]).open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 2 * len(tiny[1]["targets"]["mixture:0.05"]["rows"])
    assert {line["metric"] for line in lines} == {"sliced_wasserstein", "frechet"}
    table = (tmp_path / "mixture-0.05.md").read_text()
    assert "| euler |" in table and "Heun, 10 steps:" in table and "–" not in table
    assert json.loads(Path(files["json"]).read_text())["settings"]["images"] == 40


def test_a_sampler_that_breaks_down_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    nodes = ScheduleSpec("explicit", nodes=(80.0, 1e-160, 1e-170, 1e-180))
    broken = replace(TINY, nfe=(3,), classical=(Classical("dpm-3m"), Classical("euler")), grids=(nodes,))
    result = bench(broken, tmp_path)["targets"]["mixture:0.05"]
    assert {row["label"] for row in result["rows"]} <= {"euler", "dpm-3m"}
    assert "euler" in bench_table("mixture:0.05", result).markdown()


def test_learned_samplers_are_distilled_and_beat_what_they_stand_in_front_of(tmp_path: Path) -> None:
    settings = replace(
        TINY,
        targets=("mixture",),
        nfe=(5,),
        classical=(Classical("euler"),),
        learned=(LEARNED["plugin-euler"], LEARNED["adasde-grid"]),
        learned_grids=(ScheduleSpec("time_uniform", 1.5),),
        images=500,
        choice_images=300,
    )
    result = bench(settings, tmp_path)["targets"]["mixture"]
    found = {(entry["row"], entry["over"]): entry["ratio"] for entry in result["ratios"]}
    assert found["plug-in: euler", "best euler"] < 0.9
    assert ("AdaSDE + grid", "best single-step") in found
    learned = next(row for row in result["rows"] if row["label"] == "plug-in: euler")
    assert (tmp_path / "cells" / learned["table"]).exists() and learned["measured_nfe"] == 5


def test_best_row_is_chosen_by_the_choice_seeds() -> None:
    def row(afs: bool, tried: float, mean: float, label: str = "euler", family: str = "single-step") -> dict:
        metrics = {"fid": {"mean": mean, "spread": 0.0, "values": [mean]}}
        return {"label": label, "family": family, "solver": "euler", "nfe": 3, "afs": afs,
                "tried": {"logsnr": tried}, "metrics": metrics}  # fmt: skip

    result = {"metrics": ["fid"], "rows": [row(False, 1.0, 4.0), row(True, 2.0, 3.0)]}
    assert best_rows(result)["euler"][3]["afs"] is False
    result["rows"].append(row(True, 1.0, 1.5, "plug-in", "learned"))
    assert {entry["over"]: entry["ratio"] for entry in ratios(result)}["best euler"] == 0.5


def test_every_solver_of_the_registry_has_a_row() -> None:
    assert [entry.solver for entry in all_classical()] == list(SOLVERS)
    rows = BenchPlan("mixture", BenchSettings(targets=("mixture",)), CellCache(Path("nowhere"))).rows
    assert {row.entry.solver for row in rows if isinstance(row.entry, Classical)} == set(SOLVERS)


def test_sliced_wasserstein_in_closed_form() -> None:
    cloud = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert sliced_wasserstein(cloud, cloud.flip(0)) == 0
    assert sliced_wasserstein(cloud, cloud.repeat(3, 1)) == pytest.approx(0, abs=1e-12)
    moved = sliced_wasserstein(cloud, cloud + torch.tensor([0.0, 2.0, 0.0]), projections=20_000)
    assert moved == pytest.approx(2 / 3**0.5, rel=0.01)  # the mean square of a direction's share is 1/3
    line = torch.arange(5.0, dtype=torch.float64)[:, None]
    assert sliced_wasserstein(line, line + 0.25) == pytest.approx(0.25)


def test_score_error_has_the_size_it_says_and_is_seeded() -> None:
    from adasde.sampling.analytic import ScoreError

    exact = target("mixture").bind([0])
    x = torch.randn(4000, 16, dtype=torch.float64)
    for sigma in (0.01, 1.0, 40.0):
        level = torch.tensor(sigma, dtype=torch.float64)
        errors = [
            ScoreError(exact, 0.2, seed=seed)(sigma * x, level) - exact(sigma * x, level)
            for seed in (0, 0, 1)
        ]
        scale = 0.2 * sigma / (sigma**2 + 1) ** 0.5
        assert float(errors[0].square().mean().sqrt()) == pytest.approx(scale, rel=0.25)
        torch.testing.assert_close(errors[0], errors[1], rtol=0, atol=0)
        assert float((errors[0] - errors[2]).abs().max()) > 0.1 * scale


def test_exact_samples_have_the_moments_of_the_mixture() -> None:
    mixture = target("mixture").exact  # type: ignore[attr-defined]
    cloud = mixture.sample(40_000, seed=1)
    torch.testing.assert_close(cloud.mean(0), mixture.weights @ mixture.means, rtol=0, atol=0.03)
    torch.testing.assert_close(cloud, mixture.sample(40_000, seed=1), rtol=0, atol=0)


def test_names_with_options_and_nodes() -> None:
    assert parse_solver("ipndm:order=2") == Classical("ipndm", {"order": 2})
    assert parse_schedule("polynomial") == ScheduleSpec("polynomial", 7.0)
    assert parse_schedule("logsnr:2").label == "logsnr 2"
    quick = with_recipe(LEARNED["plugin-heun"], "trajectories=64:batch=32").settings
    assert (quick.solver, quick.trajectories, quick.batch) == ("heun", 64, 32)
    nodes = parse_schedule("80/5/0.1")
    assert nodes.sigmas(2, sigma_min=0.1, sigma_max=80).tolist() == [80, 5, 0.1]
    assert nodes.sigmas(3, sigma_min=0.1, sigma_max=80) is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: parse_solver("huen"), SolverError, "Did you mean 'heun'"),
        (lambda: parse_solver("ipndm:2"), SolverError, "write options as name:option=value"),
        (lambda: parse_solver("ipndm:order=7"), SolverError, "order .* 1 to 4, got order=7"),
        (lambda: parse_schedule("polynomail:7"), SolverError, "Did you mean 'polynomial'"),
        (lambda: parse_schedule("logsnr:x"), SolverError, "schedule 'logsnr:x'.*write polynomial:7 or 80/10"),
        (lambda: parse_schedule("80/5/6"), SolverError, r"sigmas\[1\] = 5.0 and 6.0 after it"),
        (lambda: parse_learned("plugin-huen"), ParamsError, "Did you mean 'plugin-heun'"),
        (lambda: with_recipe(LEARNED["adasde"], "btach=3"), ParamsError, "Did you mean 'batch'"),
        (lambda: with_recipe(LEARNED["adasde"], "batch"), SolverError, "name:option=value"),
        (lambda: target("mixture:much"), ParamsError, "must be a number from 0 to 10"),
        (lambda: target("digist"), AdaSDEError, "digits"),
        (
            lambda: deciding_first(("fid", "kid"), "fdi"),
            ParamsError,
            "unknown metric 'fdi'.*Did you mean 'fid'",
        ),
        (lambda: BenchSettings(nfe=()), ParamsError, "at least one entry in nfe"),
        (lambda: BenchSettings(nfe=(0,)), ParamsError, "nfe must be at least 1, got 0"),
        (lambda: BenchSettings(images=1), ParamsError, "images must be at least 2, got 1"),
        (lambda: BenchSettings(first_seed=10), ParamsError, "must lie between 8000 and"),
        (lambda: BenchSettings(trajectories=0), ParamsError, "trajectories must be at least 1, got 0"),
        (
            lambda: sliced_wasserstein(torch.zeros(3, 2), torch.zeros(4, 2)),
            DataError,
            r"\[n, F\] and \[k n, F\]",
        ),
    ],
)
def test_what_does_not_exist_is_refused_in_plain_words(call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_command(tmp_path: Path) -> None:
    command = (
        "bench --model mixture --nfe 2 --solver euler,deis:order=4 --learned none "
        "--images 20 --ranges 1 --choice-images 20 --workers 1"
    )
    done = run_command(command.split(), tmp_path)
    assert done.code == 0, done.err
    assert "deis order=4" in done.out and (tmp_path / "report/bench/bench.csv").exists()
    refused = run_command(["bench", "--nfe", "3,x"], tmp_path)
    assert refused.code == 2 and "no list of whole numbers" in refused.err


def test_a_sampler_of_coefficients_is_known_by_its_file(tmp_path: Path) -> None:
    one, two = (SamplerSpec((80.0, 0.1), True, table=str(tmp_path / f"{name}.json")) for name in "ab")
    assert one.identity != two.identity
