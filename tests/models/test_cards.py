"""The model cards: every one is whole, says what is known and what is inferred, and is listed."""

from __future__ import annotations

import json
from pathlib import Path

import golden_ldm
import golden_openai
import numpy as np
import pytest
import torch
import yaml
from command import adasde, explained
from golden_edm_nets import FULL
from golden_openai import read_shapes
from model_cards import PUBLISHED
from small_ldm import PUBLISHED_TEXT, single_file, text_weights

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import cards
from adasde.models.core.registry import converted
from adasde.models.describe import described, description, lines
from adasde.models.families.edm.family import describe
from adasde.models.hub.cards import CardFile, card_of, catalogue, folder, read_cards
from adasde.models.safe_pickle import Opened

NAMES = list(catalogue())
TABLE = {
    "cifar10",
    "ffhq",
    "afhqv2",
    "imagenet64",
    "lsun_bedroom",
    "imagenet256",
    "lsun_bedroom_ldm",
    "ms_coco",
}

FID = {
    ("cifar10", "DDIM", 5): 49.66,
    ("cifar10", "iPNDM", 5): 13.59,
    ("cifar10", "UniPC", 9): 3.21,
    ("cifar10", "AdaSDE", 5): 4.18,
    ("cifar10", "AdaSDE, gamma = 0", 3): 13.32,
    ("ffhq", "AdaSDE", 7): 5.11,
    ("ffhq", "AdaSDE, gamma = 0", 9): 4.27,
    ("imagenet64", "AMED-Solver", 5): 10.74,
    ("lsun_bedroom", "DPM-Solver-2", 3): 227.3,
}
"""Some of the paper's table."""


@pytest.mark.parametrize(("name", "row", "nfe"), FID)
def test_published_fid(name: str, row: str, nfe: int) -> None:
    assert card_of(name).published[row][nfe] == FID[name, row, nfe]


@pytest.mark.parametrize("name", NAMES)
def test_the_paper_s_table_is_complete_for_its_data_and_absent_elsewhere(name: str) -> None:
    published = card_of(name).published
    assert bool(published) is (name in {"cifar10", "ffhq", "imagenet64", "lsun_bedroom"})
    assert all(list(fids) == [3, 5, 7, 9] for fids in published.values())
    assert all(sorted(fids.values(), reverse=True) == list(fids.values()) for fids in published.values())
    best = published.get("AdaSDE", {})
    assert all(best[k] < fids[k] for row, fids in published.items() if row != "AdaSDE" for k in fids)


def test_show_says_what_is_published(tmp_path: Path) -> None:
    shown = adasde(["models", "show", "cifar10"], tmp_path).out
    assert "published AdaSDE: FID 12.62 at NFE 3, 4.18 at NFE 5" in shown
    facts = json.loads(adasde(["models", "show", "ffhq", "--json"], tmp_path).out)
    assert facts["published"]["DDIM"]["5"] == 43.93


def test_every_row_of_the_released_table_has_a_card() -> None:
    assert set(NAMES) >= TABLE
    assert {"cifar10-uncond-ve", "cifar10-cond-vp", "cifar10-cond-ve"} < set(NAMES)
    assert not set(NAMES) & set(cards())


@pytest.mark.parametrize("name", NAMES)
def test_cards_are_whole(name: str) -> None:
    card = card_of(name)
    assert card.name == name and card.terms.endswith(".") and card.licence
    assert set(card.recipes) == {3, 5, 7, 9}
    assert 0 < card.sigma_min < card.sigma_max
    for file in card.files:
        assert (file.sha256 is None) == (file.bytes is None)
        assert file.name and "/" not in file.name
        assert Path(file.name).suffix in (".pkl", ".pt", ".zip", ".safetensors", ".json")
        assert (file.member is not None) == file.name.endswith(".zip")
    for nfe, recipe in card.recipes.items():
        assert recipe.published == ((name, nfe) in PUBLISHED)
    assert (card.image is None) == (name not in ("lsun_bedroom_ldm", "ms_coco"))


@pytest.mark.parametrize(("key", "expected"), PUBLISHED.items())
def test_published_recipes(key: tuple[str, int], expected: tuple[object, ...]) -> None:
    recipe = card_of(key[0]).recipes[key[1]]
    found = (recipe.inserted, recipe.gamma_max, recipe.alpha, recipe.scale_dir, recipe.scale_time)
    assert (*found, recipe.lr, recipe.batch) == expected


def test_recipes_agree_with_the_released_predictors() -> None:
    released = json.loads((Path(__file__).parents[1] / "data/released_predictors.json").read_text())
    seen = 0
    for entry in released.values():
        config = entry["config"]
        if config["gamma"] == 0:
            continue
        recipe = card_of(config["dataset_name"]).recipes[2 * (config["num_steps"] - 1) - config["afs"]]
        assert recipe.intervals == config["num_steps"] - 1
        assert (recipe.inserted, recipe.gamma_max) == (config["M"], config["gamma"])
        assert (recipe.scale_dir, recipe.scale_time) == (config["scale_dir"], config["scale_time"])
        assert (recipe.schedule, recipe.rho, recipe.afs) == ("time_uniform", 1.0, True)
        assert recipe.alpha == config["alpha"]
        seen += 1
    assert seen == 4


def test_an_unknown_card_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(CheckpointError, match=r"no model card 'cifar'\. Did you mean 'cifar10'\?"):
        card_of("cifar")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": None}, "licence"),
        ({"surprise": 1}, "unknown key surprise"),
        ({"files": []}, "files"),
        ({"sigma_min": 100.0}, r"sigma_min \(100.0\) must be below sigma_max"),
        ({"shape": [3, 32]}, "shape"),
        ({"recipes": {4: "3"}}, "2 intervals cost other than 4 evaluations"),
        ({"recipes": {3: "3", 7: "note"}}, "7 evaluations is inferred: its note must say"),
        ({"files": "twice"}, "one model and no role twice"),
    ],
)
def test_broken_cards_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    values = yaml.safe_load((folder() / "edm/cards/cifar10.yaml").read_text())
    values.pop("variants")
    recipes = values["recipes"]
    inferred = recipes[7] | {"published": False}
    known = {"3": recipes[3], "note": inferred}
    if "recipes" in changes:
        changes = {"recipes": {nfe: known[which] for nfe, which in changes["recipes"].items()}}
    if changes.get("files") == "twice":
        changes = {"files": values["files"] * 2}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(values | changes))
    with pytest.raises(CheckpointError, match=rf"x\.yaml.*{message}"):
        read_cards(tmp_path / "x.yaml")


def test_names_of_files_without_their_revision() -> None:
    file = CardFile(role="model", url="hf://org/name/a/x.pt@main", sha256=None, bytes=None)
    assert file.name == "x.pt"


def test_the_list_has_the_packaged_models_too(tmp_path: Path) -> None:
    ended = adasde(["models"], tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == lines(described())
    first = [line.split()[0] for line in ended.out.splitlines()]
    assert first[1:3] == ["digits", "glyphs"] and set(first) >= TABLE
    assert "3, 5, (7), 9" in next(line for line in ended.out.splitlines() if line.startswith("ffhq "))
    answer = json.loads(adasde(["models", "--json"], tmp_path).out)
    assert [facts["name"] for facts in answer["models"]] == [*cards(), *NAMES]
    assert {facts["from"] for facts in answer["models"]} == {"packaged", "fetched"}


@pytest.mark.parametrize("name", ["digits", "glyphs", *NAMES])
def test_one_model_is_shown(name: str, tmp_path: Path) -> None:
    facts = description(name, batch=2)  # in this process: its imports are slow
    ended = adasde(["models", "show", name], tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{name}: {facts['title']}")
    assert str(facts["licence"]) in ended.out
    for file in facts["files"]:
        assert (file["url"] or file["name"]) in ended.out
    for nfe, recipe in facts["recipes"].items():
        assert f"NFE {nfe}" in ended.out and recipe["intervals"] == (int(nfe) + 1) // 2
    if facts["from"] == "packaged":
        size = next(file["bytes"] for file in facts["files"] if file["role"] == "model")
        assert facts["memory"]["weights"] == pytest.approx(size, rel=0.02)
        assert facts["memory"]["batch"] == 2 and facts["memory"]["activations"] > 0


@pytest.mark.parametrize("name", [name for name in NAMES if card_of(name).network is not None])
def test_networks_are_those_of_the_published_files(name: str) -> None:
    """The same arguments as those whose names and shapes were compared with upstream's."""
    network = card_of(name).network
    assert network is not None
    kinds = {"cifar10": "-uncond-vp", "ffhq": "-uncond-vp", "afhqv2": "-uncond-vp", "imagenet64": "-cond-adm"}
    class_name, arguments = FULL[name + kinds.get(name, "")]
    assert describe(network.class_name, network.arguments) == describe(class_name, arguments)
    facts = description(name, batch=1)
    assert facts["classes"] == arguments.get("label_dim", 0)
    assert facts["shape"] == [3, arguments["img_resolution"], arguments["img_resolution"]]
    assert 50e6 < facts["memory"]["parameters"] < 300e6


def published_shapes(outputs: Path, case: str) -> dict[str, torch.Tensor]:
    with np.load(outputs) as stored:
        shapes = read_shapes(stored[f"{case}/full"])
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def stable_shapes() -> dict[str, torch.Tensor]:
    parts = [published_shapes(golden_ldm.OUTPUTS, case) for case in ("sd", "kl")]
    return single_file(parts[0], parts[1], text_weights(PUBLISHED_TEXT, device="meta"))


BUILT = {
    ("imagenet256", "model"): lambda: published_shapes(golden_openai.OUTPUTS, "adm"),
    ("imagenet256", "classifier"): lambda: published_shapes(golden_openai.OUTPUTS, "classifier"),
    ("imagenet256-clamped", "model"): lambda: published_shapes(golden_openai.OUTPUTS, "adm"),
    ("imagenet256-clamped", "classifier"): lambda: published_shapes(golden_openai.OUTPUTS, "classifier"),
    ("lsun_bedroom", "model"): lambda: published_shapes(golden_openai.OUTPUTS, "cm"),
    ("lsun_bedroom_ldm", "model"): lambda: {
        f"model.diffusion_model.{name}": value
        for name, value in published_shapes(golden_openai.OUTPUTS, "ldm").items()
    },
    ("lsun_bedroom_ldm", "autoencoder"): lambda: published_shapes(golden_ldm.OUTPUTS, "vq"),
    ("ms_coco", "model"): stable_shapes,
}


def test_every_card_says_what_its_networks_are() -> None:
    for name in NAMES:
        card = card_of(name)
        roles = {file.role for file in card.files} - {"tokenizer"} - ({"model"} if card.network else set())
        assert {role for role in roles if (name, role) in BUILT} == roles, name


@pytest.mark.parametrize(("name", "role"), BUILT)
def test_what_a_card_says_of_a_network_is_what_its_converter_finds(name: str, role: str) -> None:
    card = card_of(name)
    (file,) = (file for file in card.files if file.role == role)
    opened = Opened(BUILT[name, role](), {"card": card.model_dump(mode="json") | {"about": file.about}})
    assert file.built == json.loads(json.dumps(converted(file.family or card.family, opened).about))


def test_the_memory_grows_with_the_batch(tmp_path: Path) -> None:
    first = description("glyphs", batch=10)["memory"]
    ended = adasde(["models", "show", "glyphs", "--json", "--batch", "20"], tmp_path)
    second = json.loads(ended.out)["memory"]
    assert (first["batch"], second["batch"]) == (10, 20)
    assert first["weights"] == second["weights"]
    assert 1.8 < second["activations"] / first["activations"] <= 2


def test_an_unknown_model_cannot_be_shown(tmp_path: Path) -> None:
    explained(adasde(["models", "show", "cifar"], tmp_path), "no model card 'cifar'", "adasde models")
