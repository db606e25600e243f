"""The user's own models: a weights file with a card, or a function of the user's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import read_card, weights_folder
from adasde.models.loading import load_model
from adasde.utils.atomic_io import sha256_file

CODE = """
import torch
from adasde.errors import DataError
from adasde.types import Model

def digits():
    return Model("mine", lambda x, sigma: x / (1 + sigma**2), (1, 4, 4), 0.01, 10.0, "0" * 64)

def number():
    return 3

def broken():
    raise ValueError("no weights today")

def explained():
    raise DataError("say it in words")

constant = 1
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_models_of_the_test.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_function_of_the_working_folder_gives_a_model(code: Path) -> None:
    model = load_model("my_models_of_the_test:digits")
    assert (model.name, model.shape) == ("mine", (1, 4, 4))
    x = torch.ones(2, 1, 4, 4)
    assert torch.equal(model.images(model.bind([0, 1])(x, torch.tensor(1.0))), x / 2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module_here:digits", "module 'no_such_module_here' cannot be imported .*run in the folder"),
        ("my_models_of_the_test:glyphs", "has no function 'glyphs'"),
        ("my_models_of_the_test:constant", "has no function 'constant'"),
        ("my_models_of_the_test:number", r"number\(\) returned a int; it must return an adasde.types.Model"),
        ("my_models_of_the_test:broken", r"broken\(\) failed: ValueError\('no weights today'\)"),
    ],
)
def test_functions_that_give_none(spec: str, words: str, code: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        load_model(spec)


def test_an_explained_failure_of_the_user_stays_what_it_is(code: Path) -> None:
    with pytest.raises(Exception, match=r"^say it in words$"):
        load_model("my_models_of_the_test:explained")


def own(folder: Path, **changes: Any) -> Path:
    """The weights of the packaged digits under a name of the user's, with a card; returns their path."""
    path = folder / "mine.safetensors"
    packaged = weights_folder() / "digits"
    path.write_bytes((packaged / "model.safetensors").read_bytes())
    card = read_card(packaged)
    fields = {
        "family": card.model.family,
        "about": dict(card.model.about),
        "shape": list(card.shape),
        "sigma_min": card.sigma_min,
        "sigma_max": card.sigma_max,
    } | changes
    kept = {name: value for name, value in fields.items() if value is not None}
    path.with_suffix(".json").write_text(json.dumps(kept))
    return path


def test_a_file_with_a_card_is_a_model(tmp_path: Path) -> None:
    path = own(tmp_path)
    model, packaged = load_model(f"file:{path}"), load_model("digits")
    x, sigma = torch.ones(2, *packaged.shape), torch.tensor(0.5)
    assert torch.equal(model.denoise(x, sigma), packaged.denoise(x, sigma))
    assert (model.name, model.sha256) == ("mine", sha256_file(path))
    assert (model.shape, model.sigma_min, model.sigma_max) == (
        packaged.shape,
        packaged.sigma_min,
        packaged.sigma_max,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": None, "shape": None}, r"lacks family, shape. It has family, shape, sigma_min, sigma_max"),
        ({"sigma": 3}, "has unknown fields sigma"),
        ({"shape": 8}, "the card beside .* cannot be used"),
        ({"sigma_max": "high"}, "the card beside .* cannot be used: could not convert"),
        ({"family": "none-such"}, "of the unknown family 'none-such'; known: .*residual-mlp"),
        ({"about": {"width": 3, "depth": 1}}, "do not fit the family 'residual-mlp'"),
    ],
)
def test_cards_that_do_not_fit(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = own(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=words):
        load_model(f"file:{path}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = own(tmp_path)
    path.write_bytes(b"none")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_model(f"file:{path}")
    for text, words in (("[1, 2", "cannot be read"), ("[1, 2]", "is no mapping of names")):
        path.with_suffix(".json").write_text(text)
        with pytest.raises(CheckpointError, match=words):
            load_model(f"file:{path}")
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"have no card: write mine.yaml beside them"):
        load_model(f"file:{path}")
