"""Published predictor files: those in the folder ADASDE_RELEASED, and random ones of the same structure.

The real files carry no licence, so none is kept here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import plain_samplers
import pytest
import torch
from released_cases import DATA, NAMES, config_of, largest, mixture, raw_of, states_of, table_of
from released_files import parameters_of, write_released
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.integrations.released import load_predictor
from adasde.models.safe_pickle import load_pickle

VARIABLE = "ADASDE_RELEASED"
FOLDER = os.environ.get(VARIABLE)
FILES = sorted(Path(FOLDER).rglob("*.pkl")) if FOLDER else []
BACKEND = {"sigma_min", "sigma_max", "flowmatch_mu"}
"""Settings of flow matching that lie in ``backend_config``."""


def content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(settings, raw parameters) in a predictor file, without the package's own interpretation."""
    document = load_pickle(path, needed=("model", "predictor"))
    state = (document.get("model") or document.get("predictor")).state
    beside = document["loss_fn"].state if document.get("loss_fn") else {}
    raw = {name: value for name, value in state["_parameters"].items() if value is not None}
    if "hybrid_weights" in raw:
        raw["hybrid_weights"] = raw["hybrid_weights"] * state["_buffers"]["mask"]
    facts = {
        **beside,
        **(state.get("backend_config") or {}),
        **{k: v for k, v in state.items() if v is not None},
    }
    return facts, raw


def plain_states(facts: dict[str, Any], raw: dict[str, Tensor], nodes: Tensor, noise: Tensor) -> list[Tensor]:
    arguments = (mixture(), DATA["latents"], nodes, facts, raw)
    if "hybrid_weights" in raw:
        return plain_samplers.weighted(*arguments)
    if facts["schedule_type"] == "flowmatch":
        return plain_samplers.flow(*arguments)
    return plain_samplers.parallel(*arguments, noise)


def check(path: Path) -> None:
    """The file's table gives the states of the plain sampler, on our grid and on that of its training."""
    facts, raw = content(path)
    table = load_predictor(path)
    noise = torch.randn(20, *DATA["latents"].shape, dtype=torch.float64)
    states = states_of(table, noise)
    wanted = plain_states(facts, raw, plain_samplers.grid(facts), noise)
    if facts["schedule_type"] == "flowmatch":
        shares = 1 / (1 + table.sigmas)
        states = [state * share for state, share in zip(states, shares, strict=True)]
        assert largest(states[:: facts["num_points"] + 1], wanted) < 2e-4
        return
    assert largest(states, wanted) < 1e-5
    trained = facts.get("t_steps")
    if trained is not None and table.solver == "adasde":
        wanted = plain_states(facts, raw, trained.double(), noise)
        assert largest(states, wanted) < 2e-3
        assert largest(states_of(replace(table, sigmas=trained.double()), noise), wanted) < 1e-5


@pytest.mark.skipif(not FOLDER, reason=f"{VARIABLE} names no folder of published predictors")
def test_the_folder_holds_predictors() -> None:
    assert FILES, f"there is no .pkl file in {FOLDER}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_published_file_gives_the_authors_states(path: Path) -> None:
    check(path)


def written(tmp_path: Path, name: str, **changes: Any) -> Path:
    """A file with the random parameters of a golden case, as its authors would write it."""
    config, raw = config_of(name), raw_of(name)
    flow = config["schedule_type"] == "flowmatch"
    backend = {key: config.pop(key) for key in BACKEND & set(config)}
    beside = {"t_steps": DATA[f"{name}_grid"].float(), "solver": "dpm", **({} if flow else backend)}
    if name.startswith("dyweight"):
        steps = config["num_steps"] - 1
        kept = {key: config.pop(key) for key in ("schedule_type", "schedule_rho", "dataset_name")}
        state = config | parameters_of(raw, mask=torch.ones(steps, steps).tril())
        state["_parameters"].setdefault("t_scale", None)
        place, beside = {"place": "predictor", "name": "DyWeight_predictor"}, beside | kept
    else:
        if name.startswith("epd"):
            config.pop("gamma")
        config["sampler_stu"] = name.partition("-")[0]
        state = config | parameters_of(raw) | ({"backend_config": backend} if flow else {})
        place = {"name": f"{name.partition('-')[0]}_predictor"}
    return write_released(tmp_path / f"{name}.pkl", state | changes, beside, **place)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_the_same_structure_gives_the_authors_states(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name)
    check(path)
    table, direct = load_predictor(path), table_of(name)
    assert (table.nfe, table.afs, table.solver) == (direct.nfe, direct.afs, direct.solver)
    assert largest(states_of(table), states_of(direct)) < 1e-5  # float32 in the file
    origin = {"adasde": "AdaSDE", "epd": "EPD", "dyweight": "DyWeight"}[name.partition("-")[0]]
    assert table.provenance["origin"] == origin


@pytest.mark.parametrize("name", ["adasde-latent", "epd-latent", "dyweight-latent"])
def test_range_and_guidance_come_from_the_models_card(name: str, tmp_path: Path) -> None:
    table = load_predictor(written(tmp_path, name, guidance_type="cfg", guidance_rate=6.0))
    assert float(table.sigmas[0]) == pytest.approx(14.6146, rel=1e-5)
    assert float(table.sigmas[-1]) == pytest.approx(0.0291672, rel=1e-5)
    assert table.model == {"name": "ms_coco", "guidance": 6.0}
    assert load_predictor(written(tmp_path, name)).model["guidance"] == 7.5


def test_imagenet_is_run_as_its_authors_run_it(tmp_path: Path) -> None:
    state = {"dataset_name": "imagenet256", "guidance_type": "cg", "guidance_rate": 2.0}
    table = load_predictor(written(tmp_path, "adasde-two_points", **state))
    assert table.model == {"name": "imagenet256-clamped", "guidance": 2.0}
    assert [float(table.sigmas[end]) for end in (0, -1)] == pytest.approx([152.167, 0.010486], rel=1e-5)


def test_a_range_that_the_training_wrote_for_every_model_is_not_believed(tmp_path: Path) -> None:
    config, raw = config_of("dyweight-latent"), raw_of("dyweight-latent")
    state = {"num_steps": config["num_steps"], "afs": False} | parameters_of(raw)
    beside = {key: config[key] for key in ("schedule_type", "schedule_rho", "dataset_name")}
    default = {"sigma_min": 0.002, "sigma_max": 80.0}
    path = write_released(tmp_path / "a.pkl", state, beside | default, place="predictor", name="dyweight_x")
    assert float(load_predictor(path).sigmas[0]) == pytest.approx(14.6146)
    unknown = beside | default | {"dataset_name": "mine"}
    path = write_released(tmp_path / "b.pkl", state, unknown, place="predictor", name="dyweight_x")
    with pytest.raises(
        CheckpointError, match=r"b.pkl: the range of noise levels of 'mine' is not.*--sigma-min"
    ):
        load_predictor(path)


def test_what_is_given_replaces_what_the_file_says(tmp_path: Path) -> None:
    config, raw = config_of("adasde-latent"), raw_of("adasde-latent")
    path = write_released(
        tmp_path / "bare.pkl",
        {key: value for key, value in config.items() if not key.startswith("sigma")}
        | parameters_of(raw)
        | {"dataset_name": "mine", "guidance_type": "cfg"},
        {},
    )
    with pytest.raises(CheckpointError, match="range of noise levels of 'mine' is not known"):
        load_predictor(path)
    with pytest.raises(CheckpointError, match=r"guided \(cfg\), but the file has no guidance.*--guidance"):
        load_predictor(path, sigma_min=0.03, sigma_max=15.0)
    table = load_predictor(path, sigma_min=0.03, sigma_max=15.0, guidance=3.0)
    assert (float(table.sigmas[0]), float(table.sigmas[-1])) == (15.0, 0.03)
    assert table.model == {"guidance": 3.0}
    named = load_predictor(path, model="ms_coco")
    assert named.model == {"name": "ms_coco", "guidance": 7.5}
    assert float(named.sigmas[0]) == pytest.approx(14.6146)
    bundled = load_predictor(path, model="digits", guidance=1.0)
    assert bundled.model == {"name": "digits"} and float(bundled.sigmas[0]) == 80.0


def test_a_pipeline_of_diffusers_is_named(tmp_path: Path) -> None:
    backend = {"sigma_min": 0.001, "sigma_max": 1.0, "flowmatch_mu": 1.15, "model_name_or_path": "some/model"}
    path = written(tmp_path, "epd-flow_mu", backend_config=backend, guidance_type="cfg", guidance_rate=3.5)
    assert load_predictor(path).model == {"name": "diffusers:some/model", "guidance": 3.5}


def test_a_predictor_that_cannot_be_expressed_says_why(tmp_path: Path) -> None:
    path = written(tmp_path, "epd-flow_mu", scale_dir=0.1)
    with pytest.raises(CheckpointError, match=r"epd-flow_mu.pkl: .*cannot be expressed .* because scale_dir"):
        load_predictor(path)


def test_a_predictor_without_its_settings_is_named(tmp_path: Path) -> None:
    state = parameters_of(raw_of("dyweight-afs"))
    path = write_released(tmp_path / "a.pkl", state, {}, place="predictor", name="dyweight_predictor")
    with pytest.raises(CheckpointError, match=r"a dyweight_predictor without its settings: num_steps, sched"):
        load_predictor(path)
