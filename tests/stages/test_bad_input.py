"""What goes wrong at users: one clear paragraph, exit 1 (130 for Ctrl-C), nothing half-written, carry on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import adasde, explained, tree
from tiny import STAGES, tiny_values, write_params

from adasde.sampling.coefficients import neutral
from adasde.sampling.schedules import schedule
from adasde.utils.atomic_io import sha256_file
from adasde.utils.safetensors_io import load_tensors, save_tensors

COEFFICIENTS = "data/distill/nfe3/custom/coefficients.json"
SAMPLE = [*STAGES["sample"], "--out", "elsewhere"]


@pytest.mark.parametrize("stage", list(STAGES))
def test_an_unknown_key_is_refused_by_every_stage_before_anything_runs(stage: str, tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values() | {"distil": {}})
    explained(adasde(STAGES[stage], tmp_path), "params.yaml: unknown key distil; did you mean 'distill'?")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("stage", ["teacher", "distill", "sample"])
def test_a_budget_of_the_wrong_parity(stage: str, project: Path) -> None:
    before = tree(project)
    explained(adasde([stage, "--nfe", "4"], project), "nfe=4 is impossible; the nearest are 3 and 5")
    assert tree(project) == before


def test_a_baseline_of_the_wrong_parity(tmp_path: Path) -> None:
    values = tiny_values()
    values["baselines"]["Heun"] = {"solver": "heun", "per_nfe": {5: {}}}
    write_params(tmp_path, values)
    explained(
        adasde(["teacher", "--nfe", "3"], tmp_path), "baselines.Heun: heun spends 2 evaluations", "nfe=5"
    )


def edited(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


BROKEN: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "truncated": (lambda path: os.truncate(path, 200), ["not a complete coefficient file"]),
    "empty": (lambda path: os.truncate(path, 0), ["not a complete coefficient file"]),
    "NaN": (lambda path: edited(path, gamma=[0.0, float("nan")]), ["gamma must be finite"]),
    "schema": (lambda path: edited(path, schema_version=4), ["schema version 4 is unknown"]),
    "checkpoint": (
        lambda path: edited(path, model={"name": "other", "sha256": "0" * 64}),
        ["distilled for 'other'", "--force"],
    ),
    "missing": (lambda path: path.unlink(), ["cannot read coefficients", "No such file"]),
    "other NFE": (
        lambda path: neutral(schedule("time_uniform", 3), afs=True).save(path),
        ["spends 5 evaluations, not 3"],
    ),
}


@pytest.mark.parametrize("how", list(BROKEN))
def test_a_coefficient_file_that_cannot_be_used(how: str, project: Path) -> None:
    break_it, words = BROKEN[how]
    break_it(project / COEFFICIENTS)
    explained(adasde(SAMPLE, project), *words)
    assert not (project / "elsewhere").exists()


def test_force_accepts_another_checkpoint_and_nothing_else(project: Path) -> None:
    edited(project / COEFFICIENTS, model={"name": "other", "sha256": "0" * 64})
    assert adasde([*SAMPLE, "--force"], project).code == 0
    os.truncate(project / COEFFICIENTS, 200)
    explained(adasde([*SAMPLE, "--force"], project), "not a complete coefficient file")


def test_a_shard_with_a_wrong_hash_is_named_and_the_next_run_repairs_it(project: Path) -> None:
    before = tree(project)
    shard = project / "data/teacher/nfe3/custom/shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4] + b"wxyz")
    explained(
        adasde(STAGES["distill"], project), "shard-00001.safetensors", "SHA-256", "remakes this file alone"
    )
    again = adasde([*STAGES["teacher"], "--json"], project)
    assert json.loads(again.out) | {"out": ""} == {"stage": "teacher", "out": "", "made": 1, "reused": 2}
    assert adasde(STAGES["distill"], project).code == 0
    assert tree(project) == before


def test_a_loss_that_is_not_finite_writes_nothing(project: Path) -> None:
    folder = project / "data/teacher/nfe3/custom"
    for shard in folder.glob("*.safetensors"):
        tensors = load_tensors(shard)
        tensors["states"][1:] = float("nan")
        save_tensors(shard, tensors)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][shard.name]["sha256"] = sha256_file(shard)
        (folder / "manifest.json").write_text(json.dumps(manifest))
    before = tree(project)
    explained(adasde(STAGES["distill"], project), "diverged at iteration 1", "Nothing was written")
    assert tree(project) == before


def test_a_folder_of_another_kind_is_not_emptied(project: Path) -> None:
    before = tree(project)
    ended = adasde([*STAGES["teacher"], "--out", "data/samples/nfe3/custom"], project)
    explained(ended, "data/samples/nfe3/custom holds files that were not made here", "--out")
    assert tree(project) == before


def test_trajectories_of_other_params_are_refused(project: Path) -> None:
    values = tiny_values()
    values["teacher"]["inserted"] = 2
    write_params(project, values)
    explained(adasde(STAGES["distill"], project), "shard-00000.safetensors was made from other parameters")


def test_samples_of_other_seeds_are_not_evaluated(project: Path) -> None:
    values = tiny_values()
    values["sample"]["first_seed"] = 7_000_000
    write_params(project, values)
    explained(adasde(STAGES["evaluate"], project), "samples/nfe3/custom was sampled with other seeds")


@pytest.mark.parametrize("stage", ["reference", "teacher", "distill", "sample", "evaluate"])
@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda folder: shutil.rmtree(folder), "data/checkpoint"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: os.truncate(folder / "model.safetensors", 1000), "model.safetensors"),
        (lambda folder: (folder / "card.json").write_text("{"), "card.json"),
    ],
    ids=["no folder", "no weights", "truncated weights", "broken card"],
)
def test_an_unreadable_model_path(
    stage: str, spoil: Callable[[Path], object], word: str, project: Path
) -> None:
    spoil(project / "data/checkpoint")
    before = tree(project)
    explained(adasde(STAGES[stage], project), word)
    assert tree(project) == before


@pytest.mark.parametrize(
    ("stage", "lost"),
    [
        ("distill", "data/teacher/nfe3/custom"),
        ("sample", "data/distill/nfe3/custom"),
        ("evaluate", "data/samples/nfe3/custom"),
        ("evaluate", "data/reference"),
        ("report", "data/metrics/nfe3.json"),
        ("report", "data/metrics/floor.json"),
        ("report", "data/distill/nfe3/custom/loss.csv"),
        ("report", "data/samples/nfe3/custom"),
    ],
)
def test_an_input_that_is_not_there(stage: str, lost: str, project: Path) -> None:
    path = project / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    explained(adasde(STAGES[stage], project), lost)
