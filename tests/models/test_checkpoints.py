"""Cards and weights: what is packaged is whole; everything broken is refused in plain words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adasde.errors import AdaSDEError, CheckpointError, DataError
from adasde.evaluation.features import load_features
from adasde.models.core.checkpoint import CARD, cards, find, read_card, verified, weights_folder
from adasde.models.hub import fetch as fetching
from adasde.models.hub.fetch import fetch
from adasde.models.loading import load_model
from adasde.utils.atomic_io import sha256_file

NAMES = sorted(cards())


@pytest.fixture(params=NAMES)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A fetched copy of each packaged checkpoint."""
    fetch(request.param, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def rewrite_card(folder: Path, **changes: object) -> None:
    fields = json.loads((folder / CARD).read_text()) | changes
    (folder / CARD).write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))


def test_what_is_packaged() -> None:
    assert NAMES == ["digits", "glyphs"]


@pytest.mark.parametrize("name", NAMES)
def test_packaged_files_are_those_of_the_card(name: str) -> None:
    card, folder = cards()[name], weights_folder() / name
    for part in card.components.values():
        assert verified(folder, part).stat().st_size == part.bytes
    assert sum(part.bytes for part in card.components.values()) <= 6_000_000
    assert card.name == name
    assert card.license and card.data
    assert 0 < card.sigma_min < card.sigma_max


def test_fetch_copies_the_same_bytes(checkpoint: Path) -> None:
    card = read_card(checkpoint)
    names = [CARD, "features.safetensors", "model.safetensors"]
    assert sorted(path.name for path in checkpoint.iterdir()) == names
    for name in names:
        assert sha256_file(checkpoint / name) == sha256_file(weights_folder() / card.name / name)
    fetch(card.name, checkpoint)  # again, over itself


def test_a_fetched_checkpoint_is_the_packaged_model(checkpoint: Path) -> None:
    name = read_card(checkpoint).name
    assert load_model(checkpoint).sha256 == load_model(name).sha256 == cards()[name].model.sha256
    assert load_features(checkpoint).sha256 == load_features(name).sha256 == cards()[name].features.sha256


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(CheckpointError, match=r"'digit' is no packaged model .* Did you mean 'digits'\?"):
        load_model("digit")
    with pytest.raises(CheckpointError, match=r"nowhere/model.*adasde fetch --out"):
        load_features("nowhere/model")
    with pytest.raises(CheckpointError, match=r"'digitz' is no packaged model"):
        fetch("digitz", "unused")


def test_a_file_is_no_checkpoint_folder(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"model\.pkl' is a file, not a checkpoint folder"):
        find(tmp_path / "model.pkl")


def test_a_folder_without_card_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no card\.json.*adasde fetch"):
        load_model(tmp_path)


@pytest.mark.parametrize("load", [load_model, load_features])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damaged_weights_are_refused(checkpoint: Path, load: type, damage: str) -> None:
    file = "model.safetensors" if load is load_model else "features.safetensors"
    data = (checkpoint / file).read_bytes()
    if damage == "missing":
        (checkpoint / file).unlink()
    else:
        damaged = data[:1000] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
        (checkpoint / file).write_bytes(damaged)
    reason = "No such file" if damage == "missing" else "are not those of the card"
    with pytest.raises(CheckpointError, match=rf"{file} .*{reason}.*adasde fetch"):
        load(checkpoint)


def test_weights_that_are_no_safetensors_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"not tensors")
    part = json.loads((checkpoint / CARD).read_text())["model"]
    rewrite_card(checkpoint, model=part | {"sha256": sha256_file(checkpoint / "model.safetensors")})
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load_model(checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "its version is not 1"),
        ({"model": None}, "lacks 'model'"),
        ({"shape": None}, "lacks 'shape'"),
        ({"surprise": 1}, "surprise"),
        ({"model": 3}, "cannot be read"),
    ],
)
def test_a_broken_card_is_refused(checkpoint: Path, changes: dict[str, object], message: str) -> None:
    rewrite_card(checkpoint, **changes)
    with pytest.raises(CheckpointError, match=rf"card\.json.*{message}"):
        load_model(checkpoint)


def test_a_checkpoint_without_an_extractor_says_so(checkpoint: Path) -> None:
    rewrite_card(checkpoint, features=None)
    assert load_model(checkpoint).sha256 == read_card(checkpoint).model.sha256
    with pytest.raises(CheckpointError, match=r"has no feature extractor\. Name one in params\.yaml"):
        load_features(checkpoint)


def test_a_model_that_is_fetched_first() -> None:
    with pytest.raises(CheckpointError, match=r"'cifar10' has to be fetched first: .*adasde fetch --out"):
        load_model("cifar10")


def test_a_card_that_is_no_json_is_refused(checkpoint: Path) -> None:
    for text in ("{", "[]"):
        (checkpoint / CARD).write_text(text)
        with pytest.raises(CheckpointError, match=r"card\.json cannot be read.*adasde fetch"):
            load_model(checkpoint)


def test_weights_of_another_family_are_refused(checkpoint: Path) -> None:
    part = json.loads((checkpoint / CARD).read_text())["model"]
    rewrite_card(checkpoint, model=part | {"family": "transformer"})
    with pytest.raises(CheckpointError, match=r"unknown family 'transformer'; known: .*residual-mlp"):
        load_model(checkpoint)
    rewrite_card(checkpoint, model=part | {"about": part["about"] | {"width": 16}})
    with pytest.raises(CheckpointError, match=f"do not fit the family '{part['family']}'"):
        load_model(checkpoint)


def test_a_failed_fetch_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching.shutil, "copyfile", full)
    with pytest.raises(DataError, match="No space left on device"):
        fetch("digits", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert issubclass(DataError, AdaSDEError)
