"""Models of the user's own in the pipeline: brought by ``fetch``, with another extractor, with prompts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import adasde as command
from custom_models import images, own_file, own_function, pipeline, text_to_image
from tiny import STAGES, tiny_values, write_params

from adasde.config.params import check_params
from adasde.errors import CheckpointError
from adasde.evaluation.features import load_features
from adasde.models.core.checkpoint import read_card, weights_folder
from adasde.models.core.prompts import read_prompts
from adasde.models.loading import load_model
from adasde.sampling.coefficients import Coefficients
from adasde.stages.common import made_with, trained_model

OWN: dict[Callable[[Path], dict[str, Any]], tuple[str, tuple[int, int, int]]] = {
    own_file: ("mine", (1, 8, 8)),
    own_function: ("digits", (1, 8, 8)),
    pipeline: ("some-pipe", (3, 8, 8)),
    text_to_image: ("sd", (3, 16, 16)),
}
"""What makes a model in a folder, the rest of its params -> its name, and the shape of its images."""


@pytest.mark.parametrize("make", OWN)
def test_a_model_of_the_users_goes_through_every_stage(
    make: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    values, (name, shape) = make(tmp_path), OWN[make]
    few = {"images": 20, "ranges": 2, "batch": 20}
    evaluate = tiny_values()["evaluate"] | {"reference": images(tmp_path / "real.zip", shape)}
    write_params(tmp_path, tiny_values() | {"sample": few, "evaluate": evaluate} | values)
    for stage in STAGES.values():
        ended = command(stage, tmp_path)
        assert ended.code == 0, (stage, ended.err)
    card = read_card(tmp_path / "data/checkpoint")
    assert card.name == name
    table = Coefficients.load(tmp_path / "data/distill/nfe3/custom/coefficients.json")
    assert table.model["name"] == name
    assert table.model.get("guidance") == values.get("guidance")
    assert table.model.get("prediction_type") == ("epsilon" if "diffusers:" in values["model"] else None)
    document = json.loads((tmp_path / "data/metrics/nfe3.json").read_text())
    assert all(np.isfinite(row["fid"]["mean"]) for row in document["rows"].values())
    policy = document["protocol"]["class_policy"]
    assert policy.startswith("prompt: seed modulo 3; prompts ") if "prompts" in values else policy == "none"


def test_prompts_belong_to_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = tiny_values() | text_to_image(tmp_path)
    write_params(tmp_path, values)
    monkeypatch.chdir(tmp_path)
    assert command(["fetch"], tmp_path).code == 0
    folder = tmp_path / "data/checkpoint"
    assert (folder / "prompts.txt").read_text() == "a cat\na cat a\ncat\n"
    assert load_model(folder).prompts == ["a cat", "a cat a", "cat"]
    params = check_params(values)
    before = made_with("teacher", params, trained_model(params, folder))
    (tmp_path / "captions.csv").write_text("prompt\ncat\n")
    assert command(["fetch"], tmp_path).code == 0
    after = made_with("teacher", params, trained_model(params, folder))
    assert {key for key in before if before[key] != after[key]} == {"prompts"}
    (folder / "prompts.txt").write_text("cat cat\n")
    with pytest.raises(CheckpointError, match=r"prompts\.txt .* are not those of the card"):
        load_model(folder)


def test_prompts_of_the_pipeline_are_taken_where_none_are_named(tmp_path: Path) -> None:
    values = text_to_image(tmp_path) | {"prompts": None}
    (tmp_path / "sd/prompts.txt").write_text("a cat\n\n cat \n")
    write_params(tmp_path, tiny_values() | values)
    assert command(["fetch"], tmp_path).code == 0
    assert (tmp_path / "data/checkpoint/prompts.txt").read_text() == "a cat\ncat\n"


def test_a_model_that_has_changed_is_refused(tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values() | own_function(tmp_path))
    assert command(["fetch"], tmp_path).code == 0
    (tmp_path / "weights").write_text("b")
    ended = command(STAGES["teacher"], tmp_path)
    assert ended.code == 1
    assert "stands for 'our_nets:digits' with sha256 aaaaaaaaaaaa…, which is now another model" in ended.err
    assert "Run 'adasde fetch --out data/checkpoint' to take the new one" in ended.err
    assert command(["fetch"], tmp_path).code == 0
    assert command(STAGES["teacher"], tmp_path).code == 0
    (tmp_path / "our_nets.py").unlink()
    ended = command(STAGES["teacher"], tmp_path)
    assert (ended.code, "'our_nets' cannot be imported" in ended.err) == (1, True)


def test_without_an_extractor_it_is_said_how_to_name_one(tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values() | own_file(tmp_path) | {"features": None})
    assert command(["fetch"], tmp_path).code == 0
    with pytest.raises(CheckpointError, match=r"has no feature extractor\. Name one in params\.yaml"):
        load_features(tmp_path / "data/checkpoint")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": "no-such"}, "the model 'no-such' is no packaged model and no folder"),
        ({"features": "nothing"}, "the checkpoint 'nothing' has no feature extractor that could be taken"),
        ({"prompts": "nowhere.txt"}, "nowhere.txt"),
        ({"prompts": "empty.txt"}, "there are no prompts in"),
        ({"prompts": "wrong.csv"}, "its columns are a, b, none is caption, prompt, text"),
        ({"model": "diffusers:nowhere"}, "nowhere"),
        ({"model": "file:nowhere.safetensors"}, "have no card: write nowhere.yaml beside them"),
    ],
)
def test_what_cannot_be_fetched(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values() | own_file(tmp_path) | changes)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    shutil.copytree(weights_folder() / "digits", tmp_path / "nothing")
    card = json.loads((tmp_path / "nothing/card.json").read_text())
    (tmp_path / "nothing/card.json").write_text(json.dumps({k: card[k] for k in card if k != "features"}))
    ended = command(["fetch"], tmp_path)
    assert (ended.code, words in ended.err) == (1, True), ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "data/checkpoint").exists()


def test_columns_of_a_table_in_any_case_and_order(tmp_path: Path) -> None:
    path = tmp_path / "x.CSV"
    path.write_text('\ufeffCaption,text\n"one, two",x\n')
    assert read_prompts(path) == ["one, two"]
    path.write_text('text\n"open')
    with pytest.raises(CheckpointError, match=r"x\.CSV cannot be read .* Give a text file with one prompt"):
        read_prompts(path)
