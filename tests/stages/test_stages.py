"""What the stages write: deterministic bytes, honest numbers, work that is not done twice."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import adasde as command
from command import tree
from tiny import OUTPUTS, STAGES, tiny_values, write_params

import adasde
from adasde.config.params import Params, check_params, row_file
from adasde.errors import DataError, SolverError
from adasde.evaluation.protocol import Evaluator
from adasde.models.core.checkpoint import find
from adasde.models.loading import load_model
from adasde.report.results import read_results
from adasde.sampling.coefficients import MULTISTEP, Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.wrappers import Counting
from adasde.stages.common import evaluated_model, trained_model
from adasde.stages.report import report
from adasde.stages.teacher import teacher_origin
from adasde.utils.batching import chunks
from adasde.utils.manifest import Manifest
from adasde.utils.pixels import to_uint8
from adasde.utils.safetensors_io import load_images, load_tensors, save_tensors


def test_every_output_has_the_same_bytes_when_made_again(finished_project: Path, tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values())
    for stage in ("fetch", "reference", "teacher", "distill", "sample"):
        assert command(STAGES[stage], tmp_path).code == 0
    first, again = tree(finished_project), tree(tmp_path)
    assert len(again) > 15
    assert again == {name: data for name, data in first.items() if name in again}


def test_nothing_but_the_declared_outputs_is_written(finished_project: Path) -> None:
    declared = [output for outputs in OUTPUTS.values() for output in outputs]
    for path in finished_project.rglob("*"):
        name = str(path.relative_to(finished_project))
        known = any(name == output or name.startswith(f"{output}/") for output in declared)
        assert known or path.is_dir() or name == "params.yaml", name


def test_the_shards_hold_the_teacher_s_states(finished_project: Path, params: Params) -> None:
    model = load_model("digits")
    tensors = load_tensors(finished_project / "data/teacher/nfe3/shard-00001.safetensors")
    assert tensors["seeds"].tolist() == list(range(16, 32))
    assert tensors["states"].shape == (3, 16, 1, 8, 8)
    assert torch.equal(tensors["states"][0, :8], 80 * latents(range(16, 24), model.shape))
    fine = adasde.schedule("time_uniform", 4, rho=1.0)
    ends = adasde.solve(model.denoise, latents(range(16, 24), model.shape), fine, solver="dpm2")
    torch.testing.assert_close(tensors["states"][-1, :8], ends)
    assert params.at(3).sigmas.tolist() == pytest.approx(fine[::2].tolist())


def test_the_coefficient_file_says_whose_it_is_and_how_it_was_made(finished_project: Path) -> None:
    table = Coefficients.load(finished_project / "data/distill/nfe3/coefficients.json")
    assert (table.nfe, table.afs, table.steps) == (3, True, 2)
    assert table.model == {"name": "digits", "sha256": load_model("digits").sha256}
    made = table.provenance
    assert made["params"]["distill"]["batch"] == 16
    assert made["seeds"] == [0, 48]
    assert made["version"] == adasde.__version__


def test_the_losses_have_a_column_for_every_node_and_fall_into_floats(finished_project: Path) -> None:
    with (finished_project / "data/distill/nfe3/loss.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["iteration", "node_1", "node_2", "features"]
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3, 4]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_without_the_feature_loss_no_extractor_is_needed(project: Path) -> None:
    values = tiny_values()
    values["distill"]["feature_weight"] = 0.0
    write_params(project, values)
    (project / "data/checkpoint/features.safetensors").unlink()
    assert command(STAGES["distill"], project).code == 0
    assert (project / "data/distill/nfe3/loss.csv").read_text().startswith("iteration,node_1,node_2\n")


def test_rows_are_the_images_of_their_seeds(finished_project: Path) -> None:
    folder = finished_project / "data/samples/nfe3"
    parts = Manifest.load(folder)
    assert {entry["label"]: name for name, entry in parts.entries.items()} == {
        "AdaSDE": "adasde.safetensors",
        "DDIM (Euler)": "ddim-euler.safetensors",
        "Heun + AFS": "heun-afs.safetensors",
    }
    assert {entry["nfe"] for entry in parts.entries.values()} == {3}
    model = load_model("digits")
    table = Coefficients.load(finished_project / "data/distill/nfe3/coefficients.json")
    seeds = range(1_000_007, 1_000_010)
    direct = adasde.sample(model.denoise, latents(seeds, model.shape), table, SeededNoise(seeds))
    stored = load_tensors(folder / "adasde.safetensors")["images"]
    assert stored.shape == (80, 1, 8, 8)
    difference = stored[7:10].int() - to_uint8(direct).int()
    assert difference.abs().max() <= 1


def test_a_changed_baseline_is_the_only_row_made_again(project: Path) -> None:
    values = tiny_values()
    values["baselines"]["DDIM (Euler)"]["rho"] = 2.0
    del values["baselines"]["Heun + AFS"]
    write_params(project, values)
    times = json.loads((project / "data/samples/nfe3.timing.json").read_text())
    ended = command([*STAGES["sample"], "--json"], project)
    assert json.loads(ended.out) | {"out": "", "timing": ""} == {
        "stage": "sample", "out": "", "timing": "", "made": 1, "reused": 1
    }  # fmt: skip
    assert sorted(path.name for path in (project / "data/samples/nfe3").iterdir()) == [
        "adasde.safetensors",
        "ddim-euler.safetensors",
        "manifest.json",
    ]
    again = json.loads((project / "data/samples/nfe3.timing.json").read_text())
    assert list(again) == ["AdaSDE", "DDIM (Euler)"]
    assert again["AdaSDE"] == times["AdaSDE"]
    assert again["DDIM (Euler)"]["fingerprint"] != times["DDIM (Euler)"]["fingerprint"]


def test_rows_without_a_known_time_are_made_again(project: Path) -> None:
    (project / "data/samples/nfe3.timing.json").unlink()
    ended = command([*STAGES["sample"], "--json"], project)
    assert json.loads(ended.out)["made"] == 3
    times = json.loads((project / "data/samples/nfe3.timing.json").read_text())
    assert all(
        entry["seconds"] > 0 and entry["images"] == 80 and entry["nfe"] == 3 for entry in times.values()
    )


def test_the_metrics_have_mean_spread_and_protocol(finished_project: Path) -> None:
    document = json.loads((finished_project / "data/metrics/nfe3.json").read_text())
    assert list(document["rows"]) == ["AdaSDE", "DDIM (Euler)", "Heun + AFS"]
    for row in document["rows"].values():
        assert len(row["fid"]["values"]) == 2
        assert row["fid"]["mean"] == pytest.approx(np.mean(row["fid"]["values"]))
        assert row["fid"]["spread"] == pytest.approx(np.std(row["fid"]["values"], ddof=1))
        assert 0 <= row["precision"] <= 1 and 0 <= row["recall"] <= 1
        assert row["nfe"] == 3
    floor = json.loads((finished_project / "data/metrics/floor.json").read_text())
    assert floor["protocol_hash"] == document["protocol_hash"]
    assert floor["protocol"]["first_seeds"] == [1_000_000, 1_000_040]
    assert floor["rows"]["Heun, 6 steps"]["nfe"] == 12


@pytest.mark.parametrize("steps", [0, None])
def test_the_floor_can_be_skipped(steps: int | None, project: Path, values: dict[str, Any]) -> None:
    values["evaluate"]["floor_steps"] = steps
    params = check_params(values)
    summary = import_module("adasde.stages.reference").reference(
        params,
        project / "data/checkpoint",
        out=project / "data/reference",
        metrics=project / "data/metrics/floor.json",
    )
    assert "fid" not in summary and not (project / "data/reference/floor.safetensors").exists()
    report(params, project / "data", out=project / "report")
    results = read_results(project)
    assert results.teacher is None and len(results.rows) > 1
    assert "The model itself" not in (project / "report/index.html").read_text()


def test_one_seed_range_has_no_spread(project: Path, values: dict[str, Any]) -> None:
    values["sample"] |= {"ranges": 1, "images": 2 * values["sample"]["images"]}
    params = check_params(values)
    checkpoint, folder = project / "data/checkpoint", project / "data/reference"
    evaluator = Evaluator.load(params, checkpoint=checkpoint, folder=folder)
    found = evaluator.row(load_images(project / "data/samples/nfe3" / row_file("AdaSDE")), nfe=3)
    assert found["fid"]["spread"] is None and found["fid"]["values"] == [found["fid"]["mean"]]


def test_the_nfe_is_counted_not_computed(params: Params) -> None:
    values = tiny_values()
    values["baselines"] = {"iPNDM": {"solver": "ipndm"}, "iPNDM + AFS": {"solver": "ipndm", "afs": True}}
    rows = check_params(values).at(3).params.baselines
    model = load_model("digits")
    for row in rows.values():
        counting = Counting(model.denoise)
        steps = row.steps(3)
        assert steps is not None
        grid = adasde.schedule(row.schedule, steps, rho=row.rho)
        adasde.solve(counting, latents(range(2), model.shape), grid, solver=row.solver, afs=row.afs)
        assert counting.nfe == 3


def test_chunks_cover_the_seeds_in_order() -> None:
    assert [list(piece) for piece in chunks(range(10, 15), 2)] == [[10, 11], [12, 13], [14]]


def test_files_made_by_other_code_are_made_again(project: Path) -> None:
    def before() -> None:
        from adasde.stages.code import CODE

        CODE["teacher"] = (*CODE["teacher"], "utils/atomic_io.py")

    ended = command([*STAGES["teacher"], "--json"], project, before=before)
    assert json.loads(ended.out)["made"] == 3
    ended = command(STAGES["distill"], project)
    assert ended.code == 1
    assert "another checkpoint or by other code" in ended.err


def test_a_conditional_model_goes_through_every_stage_with_the_classes_of_its_seeds(tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values() | {"model": "glyphs"})
    for stage in STAGES.values():
        ended = command(stage, tmp_path)
        assert ended.code == 0, (stage, ended.err)
    model, seeds = load_model("glyphs"), range(16, 24)
    states = load_tensors(tmp_path / "data/teacher/nfe3/shard-00001.safetensors")["states"]
    fine = adasde.schedule("time_uniform", 4, rho=1.0)
    ends = adasde.solve(model.bind(seeds), latents(seeds, model.shape), fine, solver="dpm2")
    torch.testing.assert_close(states[-1, :8], ends, atol=1e-4, rtol=1e-4)
    document = json.loads((tmp_path / "data/metrics/nfe3.json").read_text())
    assert document["protocol"]["class_policy"] == "seed modulo 26"
    assert {row["nfe"] for row in document["rows"].values()} == {3}
    table = Coefficients.load(tmp_path / "data/distill/nfe3/coefficients.json")
    seeds = range(1_000_050, 1_000_053)  # the first of the second chunk
    direct = adasde.sample(model.bind(seeds), latents(seeds, model.shape), table, SeededNoise(seeds))
    stored = load_tensors(tmp_path / "data/samples/nfe3/adasde.safetensors")["images"]
    assert (stored[50:53].int() - to_uint8(direct).int()).abs().max() <= 1


def test_samples_of_a_latent_model_are_decoded_before_they_are_judged(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill, reference, sample, common = (
        import_module(f"adasde.stages.{name}") for name in ("distill", "reference", "sample", "common")
    )
    latent = replace(load_model("digits"), decode=torch.zeros_like)  # every image is grey
    monkeypatch.setattr(common, "load_model", lambda checkpoint, **_: latent)
    given = {"checkpoint": project / "data/checkpoint"}
    sample.sample(
        params, 3, coefficients=project / "data/distill/nfe3/coefficients.json", out=project / "grey", **given
    )
    for file in (project / "grey").glob("*.safetensors"):
        assert load_tensors(file)["images"].unique().numel() == 1
    images, _ = reference._floor(params, latent, steps=6)
    assert images.unique().numel() == 1
    distill.distill(params, 3, teacher=project / "data/teacher/nfe3", out=project / "learned", **given)
    with (project / "learned/loss.csv").open(newline="") as stream:
        assert {float(row["features"]) for row in csv.DictReader(stream)} == {0.0}


def test_the_stage_distils_against_real_images(values: dict, project: Path, tmp_path: Path) -> None:
    """The multistep form with the energy distance; without real images it says what to do."""
    values["distill"] |= {"solver": MULTISTEP, "learn_grid": True, "energy_weight": 1.0, "gamma_max": 0.0}
    params = check_params(values)
    teacher, distill = (import_module(f"adasde.stages.{name}") for name in ("teacher", "distill"))
    folders = {"checkpoint": project / "data/checkpoint", "teacher": tmp_path / "teacher"}
    teacher.teacher(params, 3, checkpoint=folders["checkpoint"], out=folders["teacher"])
    kept = load_tensors(folders["teacher"] / "shard-00000.safetensors")["states"]
    assert kept.shape == (2, 16, 1, 8, 8)  # nothing asks for the nodes between
    distill.distill(params, 3, **folders, reference=project / "data/reference", out=tmp_path / "learned")
    table = Coefficients.load(tmp_path / "learned/coefficients.json")
    assert (table.solver, table.nfe, table.steps) == (MULTISTEP, 3, 4)
    with (tmp_path / "learned/loss.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({float(row["energy"]) for row in rows}) == len(rows) and set(rows[0]) == {
        "iteration",
        "node_4",
        "features",
        "energy",
    }
    known = load_tensors(project / "data/reference/features.safetensors")["features"]
    assert known.shape == (1797, 32) and known.dtype == torch.float32
    save_tensors(tmp_path / "moments/features.safetensors", {"features": torch.zeros(0, 0)})
    with pytest.raises(DataError, match=r"energy_weight compares with real images.*evaluate\.reference"):
        distill.distill(params, 3, **folders, reference=tmp_path / "moments", out=tmp_path / "other")


def test_guidance_reaches_every_stage(values: dict, tmp_path: Path) -> None:
    """Teacher, coefficients and images of glyphs at guidance 1.5; evaluations count twice."""
    values |= {"model": "glyphs", "guidance": 1.5, "nfe": [3]}
    guided = check_params(values)
    plain = check_params(values | {"guidance": 1.0})
    checkpoint = find("glyphs")
    model = trained_model(guided, checkpoint)
    seeds = range(4)
    x, sigma = latents(seeds, model.shape), torch.tensor(1.0)
    torch.testing.assert_close(model.bind(seeds)(x, sigma), load_model("glyphs").bind(seeds, 1.5)(x, sigma))
    origins = [teacher_origin(p.at(3), model=trained_model(p, checkpoint)) for p in (guided, plain)]
    assert [origin.get("guidance") for origin in origins] == [1.5, None]
    counting = Counting(evaluated_model(guided, checkpoint).bind(seeds))
    counting(x, sigma)
    assert counting.nfe == 2


def test_guidance_of_a_model_without_classes_is_refused(values: dict) -> None:
    with pytest.raises(SolverError, match="'digits' has no classes to guide to; leave guidance at 1"):
        trained_model(check_params(values | {"guidance": 2.0}), find("digits"))
