"""The packaged recipes as learned samplers of the bench: settings, grid and teacher of each budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import adasde as run_command

import adasde
from adasde.distillation.config import NODE_BY_NODE
from adasde.distillation.distill import batches_of, distill
from adasde.distillation.recipes import INEXPRESSIBLE, RECIPES, recipe_named
from adasde.distillation.teacher import Teacher, split
from adasde.errors import ParamsError
from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.cells import fitting
from adasde.experiments.bench.plan import BenchPlan
from adasde.experiments.bench.run import bench
from adasde.experiments.bench.samplers import (
    LEARNED,
    PACKAGED,
    Learned,
    ScheduleSpec,
    parse_learned,
    with_recipe,
)
from adasde.experiments.bench.settings import BenchSettings
from adasde.experiments.bench.targets import target
from adasde.experiments.bench.taught import Ends, Nodes
from adasde.sampling.schedules import schedule

TINY = BenchSettings(
    targets=("mixture",), nfe=(3,), classical=(), trajectories=64, images=20, ranges=2, choice_images=20,
    floor_steps=4,
)  # fmt: skip
QUICK = "trajectories=64:batch=16"


def quick(name: str) -> Learned:
    return with_recipe(parse_learned(name), QUICK)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("recipes")
    result = bench(replace(TINY, learned=tuple(map(quick, PACKAGED))), out)
    return out, {row["label"]: row for row in result["targets"]["mixture"]["rows"]}


def table_of(measured: tuple[Path, dict[str, Any]], name: str) -> adasde.Coefficients:
    out, rows = measured
    return adasde.Coefficients.load(out / "cells" / rows[PACKAGED[name]]["table"])


def test_every_packaged_recipe_is_a_learned_sampler() -> None:
    assert set(PACKAGED) == set(RECIPES) - {"custom"} and set(PACKAGED) <= set(LEARNED)


def test_no_two_samplers_have_one_label_and_none_is_called_adasde_alone() -> None:
    labels = [entry.label for entry in LEARNED.values()]
    assert len(set(labels)) == len(labels) and "AdaSDE" not in labels
    assert {"AdaSDE (paper)", "AdaSDE (retrained)", "AdaSDE multistep"} <= set(labels)
    assert parse_learned("multistep-energy") is LEARNED["multistep"]


@pytest.mark.parametrize("name", PACKAGED)
@pytest.mark.parametrize("nfe", [3, 5, 7, 9])
def test_settings_and_grid_of_a_budget_are_the_recipes(name: str, nfe: int) -> None:
    sections, entry = RECIPES[name].at(nfe), LEARNED[name]
    settings = entry.at(nfe)
    assert {key: getattr(settings, key) for key in sections["distill"]} == sections["distill"]
    assert entry.grid(nfe) == ScheduleSpec(**sections["schedule"])
    assert (entry.teacher(nfe) is not None) == (settings.loop == NODE_BY_NODE)


def test_settings_differ_between_budgets_and_changes_win() -> None:
    paper, changed = LEARNED["paper"], with_recipe(LEARNED["paper"], "batch=8:gamma_max=0.5")
    assert [paper.at(nfe).gamma_max for nfe in (3, 5)] == [0.02, 0.01]
    assert [paper.at(nfe).batch for nfe in (3, 5)] == [32, 64]
    assert paper.teacher(9) == Teacher("dpm2", inserted=2, substeps=2)
    assert {changed.at(nfe).batch for nfe in (3, 5)} == {8}
    assert [changed.at(nfe).feature_weight for nfe in (3, 5)] == [20.0, 50.0]


def test_paper_is_trained_node_by_node_on_its_own_teacher(measured) -> None:
    goal, grid = target("mixture"), schedule("time_uniform", 2, rho=1.0)
    settings = replace(quick("paper").at(3), pixel_weight=1.0)
    latents = adasde.latents(range(64), goal.shape, dtype=goal.dtype)
    ends: dict[str, Any] = {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 1.0}
    states = Teacher(inserted=3, substeps=2).states(
        goal.bind([0]), latents, schedule="time_uniform", steps=2, **ends
    )
    batches = batches_of(states, range(64), 16, seed=0)
    *_, last = distill(goal.bind([0]), batches, grid, settings=settings, afs=True)
    made = table_of(measured, "paper")
    for name in ("sigmas", "gamma", "midpoint", "direction_scale", "time_scale"):
        torch.testing.assert_close(getattr(made, name), getattr(last.coefficients, name), rtol=1e-9, atol=0)
    assert made.gamma[1] > 2e-4
    row = measured[1]["AdaSDE (paper)"]
    assert (row["schedule"], row["measured_nfe"], row["afs"]) == ("time_uniform", 3, True)


def test_ld3_learns_the_grid_alone(measured) -> None:
    made, begin = table_of(measured, "ld3"), schedule("logsnr", 4)
    assert (made.solver, made.options) == ("unipc", {"order": 3, "variant": "bh1"})
    assert not made.gamma.any() and bool((made.direction_scale == 1).all() and (made.time_scale == 1).all())
    torch.testing.assert_close(made.sigmas[[0, -1]], begin[[0, -1]])
    assert bool(((made.sigmas / begin - 1).abs()[1:-1] > 1e-3).all())


def test_epd_has_two_points_and_no_noise(measured) -> None:
    made = table_of(measured, "epd")
    assert made.points == 2 and made.nfe == 3 and not made.gamma.any()
    assert float((made.time_scale - 1).abs().max()) <= 0.05
    assert bool(((made.weights - 0.5).abs() > 1e-3).all())


def test_dyweight_is_a_multistep_table_of_three_directions(measured) -> None:
    made = table_of(measured, "dyweight")
    assert made.solver == "adasde-multistep" and made.weights.shape == (4, 3) and not made.gamma.any()


def test_the_trained_recipes_take_one_common_teacher() -> None:
    settings = replace(TINY, nfe=(3, 5), learned=tuple(map(quick, PACKAGED)))
    trains = BenchPlan("mixture", settings, CellCache(Path("nowhere")))._trains()
    taught = {(cell.learned.name, cell.nfe): cell.taught for _, _, cell in trains}
    assert len(trains) == len(PACKAGED) * 2
    common = {name for (name, _), cell in taught.items() if isinstance(cell, Ends)}
    assert common == {"single-step", "multistep", "dyweight", "ld3"}
    three = taught["paper", 3]
    assert isinstance(three, Nodes) and three != taught["epd", 3]  # one interval for K = 2
    assert three.cost == 64 * 2 * 4 * 2 * 2  # trajectories, intervals, parts, substeps, evaluations


def test_teachers_states_follow_explicit_nodes_too(tmp_path: Path) -> None:
    cache, nodes = CellCache(tmp_path), (80.0, 3.0, 0.002)
    cell = Nodes("mixture", 8, Teacher(inserted=1), ScheduleSpec("explicit", nodes=nodes), nodes)
    cell.compute(cache)
    states, start = (
        cache.tensors(cell.identity)["states"],
        adasde.latents(range(8), (16,), dtype=torch.float64),
    )
    fine = split(split(torch.tensor(nodes, dtype=torch.float64), 2), 2)
    end = adasde.solve(target("mixture").bind([0]), start, fine, "dpm2")
    assert states.shape == (3, 8, 16)
    torch.testing.assert_close(states[[0, -1]], torch.stack([80 * start, end]))


def test_without_an_extractor_a_loss_of_features_is_the_squared_error() -> None:
    goal = target("mixture")
    for name in ("paper", "epd", "dyweight", "ld3"):
        assert fitting(LEARNED[name].at(5), goal).pixel_weight == 1.0
    for name in ("single-step", "multistep", "adasde"):
        assert fitting(LEARNED[name].at(5), goal) == LEARNED[name].at(5)


@pytest.mark.parametrize("name", INEXPRESSIBLE)
@pytest.mark.parametrize("parse", [parse_learned, recipe_named])
def test_methods_without_a_form_say_why(name: str, parse) -> None:
    with pytest.raises(ParamsError, match=rf"no .*'{name}'.*weigh earlier states.*docs/bench\.md"):
        parse(name)


def test_the_command_names_recipes(tmp_path: Path) -> None:
    command = (
        "bench --model mixture --nfe 3 --solver euler --schedule logsnr --learned paper,multistep "
        f"--recipe {QUICK} --trajectories 64 --images 20 --ranges 1 --choice-images 20 --workers 1"
    )
    done = run_command(command.split(), tmp_path)
    assert done.code == 0, done.err
    document = json.loads((tmp_path / "report/bench/bench.json").read_text())
    assert document["settings"]["learned"] == ["paper", "multistep"]
    rows = {row["label"]: row["schedule"] for row in document["targets"]["mixture"]["rows"]}
    assert rows["AdaSDE (paper)"] == "time_uniform" and rows["AdaSDE multistep"] == "time_uniform 1.5"
