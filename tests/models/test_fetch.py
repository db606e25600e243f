"""Checkpoints from elsewhere: the same bytes as from a folder, or nothing and a reason."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import adasde, explained
from site_server import served_folder
from tiny import tiny_values, write_params

from adasde.errors import CheckpointError, DataError, StoreError
from adasde.models.core.checkpoint import CARD, read_card, weights_folder
from adasde.models.hub.fetch import fetch
from adasde.storage import download
from adasde.utils.atomic_io import sha256_file

PACKAGED = weights_folder() / "digits"
NAMES = sorted(path.name for path in PACKAGED.iterdir())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a server of ``tmp_path``/site, the digits model in its folder ``models``."""
    shutil.copytree(PACKAGED, tmp_path / "site/models")
    with served_folder(tmp_path / "site") as address:
        yield address


def is_digits(folder: Path) -> bool:
    return sorted(path.name for path in folder.iterdir()) == NAMES and all(
        sha256_file(folder / name) == sha256_file(PACKAGED / name) for name in NAMES
    )


@pytest.mark.parametrize(
    "form", ["{site}/models", "{site}/models/", "file://{folder}/models", "{folder}/models"]
)
def test_the_same_from_everywhere(form: str, site: str, tmp_path: Path) -> None:
    fetch(form.format(site=site, folder=tmp_path / "site"), tmp_path / "out")
    assert is_digits(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "site"]


def test_params_may_name_an_address(site: str, tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values() | {"model": f"{site}/models"})
    ended = adasde(["fetch", "--json"], tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"stage": "fetch", "out": "data/checkpoint", "model": f"{site}/models"}
    assert "fetch model.safetensors: " in ended.err
    assert is_digits(tmp_path / "data/checkpoint")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: os.truncate(folder / "model.safetensors", 100), "model.safetensors is damaged"),
        (
            lambda folder: (folder / "features.safetensors").unlink(),
            "features.safetensors: the server answers",
        ),
        (lambda folder: (folder / CARD).write_text("{"), "card.json cannot be read"),
        (lambda folder: (folder / CARD).unlink(), "card.json: the server answers 404"),
    ],
)
def test_a_checkpoint_that_is_not_whole(damage: object, words: str, site: str, tmp_path: Path) -> None:
    fetch("digits", tmp_path / "out")
    damage(tmp_path / "site/models")  # type: ignore[operator]
    write_params(tmp_path, tiny_values() | {"model": f"{site}/models"})
    explained(adasde(["fetch", "--out", "out"], tmp_path), words)
    assert is_digits(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "params.yaml", "site"]


def test_a_server_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9/m/card\.json: the server cannot be reached"):
        fetch("http://127.0.0.1:9/m", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(site: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file/out"):
        fetch(f"{site}/models", tmp_path / "file/out")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "", ".."])
def test_a_card_names_files_beside_it_only(name: str, tmp_path: Path) -> None:
    fetch("digits", tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    card["model"]["file"] = name
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"card\.json cannot be read .*not the name of a file"):
        read_card(tmp_path)
