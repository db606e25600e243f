"""`adasde import-released`: the authors' predictors as our JSON, with the states that they gave."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from released_files import ENTRY, PREDICTORS, write_predictor
from typer.testing import CliRunner

from adasde.cli.main import app
from adasde.errors import CheckpointError
from adasde.integrations.released import load_predictor
from adasde.sampling.analytic import Mixture
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate
from adasde.sampling.solvers import AdaSDE

GOLDEN = Path(__file__).parents[1] / "data" / "released_sampler_golden.npz"
GAMMAS = ("gamma", "gamma_min")


def run(*words: str):
    return CliRunner().invoke(app, ["import-released", *words])


def epd(path: Path, points: int = 2, **changes) -> Path:
    """EPD's form of the first predictor: no gamma, K points."""
    raw = {name: rows for name, rows in ENTRY["raw_parameters"].items() if name != "gamma_params"}
    raw = {name: [[row[0] + k for k in range(points)] for row in rows] for name, rows in raw.items()}
    config = {name: value for name, value in ENTRY["config"].items() if name not in GAMMAS}
    return write_predictor(path, {"raw_parameters": raw, "config": config}, **changes)


def test_the_round_trip_reproduces_the_golden_states(tmp_path: Path) -> None:
    for name, entry in PREDICTORS.items():
        write_predictor(tmp_path / f"{name}.pkl", entry)
    result = run(str(tmp_path), "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)["predictors"]
    assert sorted(one["nfe"] for one in found) == [3, 3, 5, 5, 7, 7, 9, 9]
    with np.load(GOLDEN) as archive:
        golden = {key: torch.from_numpy(np.asarray(archive[key])) for key in archive.files}
    mixture = Mixture(golden["mixture_means"], golden["mixture_weights"], float(golden["mixture_std"]))
    for one in found:
        key, table = Path(one["from"]).name.split("-")[0], Coefficients.load(one["out"])
        grid = golden[f"schedule_time_uniform_1_{table.steps + 1}"]
        table, noise = replace(table, sigmas=grid), golden[f"{key}_noise"]
        start = golden[f"{key}_latents"] * grid[0]
        *_, end = integrate(mixture, start, grid, AdaSDE(table), afs=table.afs, noise=lambda i, _: noise[i])  # noqa: B023
        wanted = golden[f"{key}_states"][-1]
        assert float((end - wanted).norm() / wanted.norm()) < 1e-6


def test_it_says_what_it_found(tmp_path: Path) -> None:
    path = write_predictor(tmp_path / "a.pkl")
    result = run(str(path), "--out", str(tmp_path))
    assert "Predictor for cifar10, 3 evaluations in 2 steps of 1 point(s), AFS, gamma up to" in result.output
    assert (tmp_path / "00-cifar10-nfe3.json").is_file()


def test_tables_of_epd_are_read_with_their_own_scales(tmp_path: Path) -> None:
    table = load_predictor(epd(tmp_path / "epd.pkl"))
    raw, config = ENTRY["raw_parameters"], ENTRY["config"]
    assert (table.points, float(table.gamma.max())) == (2, 0.0)
    # 2 sigmoid(raw / 2) s + (1 - s), as that release writes it
    share = 2 * torch.sigmoid(0.5 * torch.tensor(raw["scale_time_params"][0][0], dtype=torch.float64))
    wanted = share * config["scale_time"] + (1 - config["scale_time"])
    assert float(table.time_scale[0, 0]) == pytest.approx(float(wanted), rel=1e-6)
    assert float(table.weights.sum()) == pytest.approx(table.steps)


def test_a_plug_in_of_epd_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not an AdaSDE or EPD predictor: its student is 'ipndm'"):
        load_predictor(epd(tmp_path / "epd.pkl", sampler_stu="ipndm"))


def latent(path: Path, **changes) -> Path:
    """The first predictor, as that of a guided latent model."""
    changes = {"dataset_name": "ms_coco", "schedule_type": "discrete", "guidance_type": "cfg"} | changes
    return write_predictor(path, ENTRY, guidance_rate=7.5, **changes)


def test_range_and_guidance_of_a_latent_model_are_said(tmp_path: Path) -> None:
    path = latent(tmp_path / "a.pkl")
    result = run(str(path), "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "for ms_coco, 3 evaluations" in result.output
    assert "sigma 14.615 to 0.029167, guidance 7.5 -> " in result.output
    table = Coefficients.load(tmp_path / "00-ms_coco-nfe3.json")
    assert table.model == {"name": "ms_coco", "guidance": 7.5}


def test_an_unknown_range_is_demanded_and_can_be_given(tmp_path: Path) -> None:
    path = str(latent(tmp_path / "a.pkl", dataset_name="../other"))
    result = run(path, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "Give --sigma-min and --sigma-max, or name a model that has it with --model" in result.output
    for words in (("--model", "ms_coco"), ("--sigma-min", "0.03", "--sigma-max", "14.6")):
        result = run(path, "--out", str(tmp_path / "out"), "--json", "--guidance", "3", *words)
        (one,) = json.loads(result.output)["predictors"]
        assert Path(one["out"]).parent == tmp_path / "out"  # whatever the data set is called
        assert one["guidance"] == 3.0 and round(one["sigma_max"], 1) == 14.6


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    result = run(str(tmp_path))
    assert result.exit_code == 1
    assert "there is no .pkl file in" in result.output


def test_nothing_is_written_where_one_is_no_predictor(tmp_path: Path) -> None:
    write_predictor(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"weights": 1}))
    result = run(str(tmp_path), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "b.pkl is a pickle, but not a released predictor: it has no 'model' object." in result.output
    assert not (tmp_path / "out").exists()
