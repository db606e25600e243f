"""From a model card to a checkpoint folder: trust on first use, archives, mirrors, offline, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import hostile
import pickle_code
import pytest
import torch
from command import adasde, explained
from edm_pickles import nvidia, published  # noqa: F401 (a fixture)
from golden_edm_nets import CASES
from model_cards import card, saved
from site_server import served_folder
from tiny import tiny_values, write_params

from adasde.errors import CheckpointError, StoreError
from adasde.models.core import checkpoint
from adasde.models.core.checkpoint import read_card, read_weights
from adasde.models.core.registry import CONVERTERS, Converted, Opened
from adasde.models.families.edm.family import describe
from adasde.models.hub import cards, fetch
from adasde.models.hub.lockfile import LOCK, Lock
from adasde.models.loading import load_model
from adasde.utils.atomic_io import sha256_file

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "tied": torch.ones(2, 2).t()}


def doubled(opened: Opened) -> Converted:
    """A converter of a family of the tests."""
    about = {"role": opened.about["role"], "classes": opened.about["card"]["classes"]}
    return Converted("toy", about, {name: 2 * value for name, value in opened.tensors.items()})


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "toy", doubled)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/model.pt").write_bytes(saved(TENSORS))
    with served_folder(tmp_path / "site") as address:
        yield address


def test_a_card_becomes_a_checkpoint(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data/checkpoint"
    fetch.fetch(card({"url": f"{site}/model.pt"}, classes=5), out, project=tmp_path)
    made = read_card(out)
    assert (made.name, made.shape, made.classes, made.features) == ("toy-model", (3, 32, 32), 5, None)
    assert made.model.family == "toy" and made.license.startswith("CC BY-NC-SA 4.0. Published by NVIDIA")
    weights = read_weights(out, made.model)
    assert {name: value.tolist() for name, value in weights.items()} == {
        name: (2 * value).tolist() for name, value in TENSORS.items()
    }
    err = capsys.readouterr().err
    assert (
        err.index("licence: CC BY-NC-SA 4.0") < err.index("fetch model.pt: ") < err.index("trusted on first")
    )
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["checkpoint", "downloads"]
    assert sorted(path.name for path in out.iterdir()) == ["card.json", "model.safetensors"]


def test_the_weights_are_written_once(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
        save_file(tensors, path)
        written.append(path.stat().st_ino)

    save_file = fetch.safetensors.torch.save_file
    monkeypatch.setattr(fetch.safetensors.torch, "save_file", save)
    fetch.fetch(card({"url": f"{site}/model.pt"}), tmp_path / "data/checkpoint", project=tmp_path)
    assert written == [(tmp_path / "data/checkpoint/model.safetensors").stat().st_ino]


def test_trust_on_first_use(site: str, tmp_path: Path) -> None:
    toy, served = card({"url": f"{site}/model.pt"}), tmp_path / "site/model.pt"
    fetch.fetch(toy, tmp_path / "a/checkpoint", project=tmp_path)
    document = json.loads((tmp_path / LOCK).read_text())
    assert document == {
        "version": 1,
        "files": {
            "toy-model/model.pt": {
                "sha256": sha256_file(served),
                "bytes": served.stat().st_size,
                "url": f"{site}/model.pt",
            }
        },
    }
    served.write_bytes(saved({"weight": torch.zeros(1)}))
    fetch.fetch(toy, tmp_path / "a/again", project=tmp_path)  # what is there is not fetched again
    message = r"toy-model/model\.pt is not the file that this project has trusted.*checkpoints\.lock.*remove"
    with pytest.raises(CheckpointError, match=message):
        fetch.fetch(toy, tmp_path / "b/checkpoint", project=tmp_path)
    assert not (tmp_path / "b/checkpoint").exists()
    (tmp_path / "a/downloads/toy-model/model.pt").write_bytes(served.read_bytes())
    with pytest.raises(CheckpointError, match=message):
        fetch.fetch(toy, tmp_path / "a/third", project=tmp_path)
    assert json.loads((tmp_path / LOCK).read_text()) == document
    (tmp_path / LOCK).unlink()
    fetch.fetch(toy, tmp_path / "b/checkpoint", project=tmp_path)


def test_a_hash_of_the_card_needs_no_trust(site: str, tmp_path: Path) -> None:
    served = tmp_path / "site/model.pt"
    known = {"url": f"{site}/model.pt", "sha256": sha256_file(served), "bytes": served.stat().st_size}
    fetch.fetch(card(known), tmp_path / "a/checkpoint", project=tmp_path)
    assert not (tmp_path / LOCK).exists()
    wrong = card(known | {"sha256": "0" * 64})
    with pytest.raises(StoreError, match=r"model\.pt is damaged or was altered"):
        fetch.fetch(wrong, tmp_path / "b/checkpoint", project=tmp_path)
    with pytest.raises(CheckpointError, match=r"is not the file of the card 'toy-model'.*Delete it"):
        fetch.fetch(wrong, tmp_path / "a/checkpoint", project=tmp_path)


def test_mirrors_of_a_card(site: str, tmp_path: Path) -> None:
    lost = {"url": f"{site}/lost/model.pt", "mirrors": (f"{site}/model.pt",)}
    fetch.fetch(card(lost), tmp_path / "a/checkpoint", project=tmp_path)
    local = {"url": f"file://{tmp_path}/lost.pt", "mirrors": (f"file://{tmp_path}/site/model.pt",)}
    fetch.fetch(card(local), tmp_path / "b/checkpoint", project=tmp_path / "b")
    assert sha256_file(tmp_path / "a/checkpoint/model.safetensors") == sha256_file(
        tmp_path / "b/checkpoint/model.safetensors"
    )


def test_archives_and_several_roles(site: str, tmp_path: Path) -> None:
    packed = pickle_code.zipped({"model.ckpt": saved({"state_dict": TENSORS, "epoch": 1})})
    (tmp_path / "site/vq.zip").write_bytes(packed)
    files = [
        {"url": f"{site}/model.pt"},
        {"role": "autoencoder", "url": f"{site}/vq.zip", "member": "model.ckpt"},
    ]
    fetch.fetch(card(*files), tmp_path / "a/checkpoint", project=tmp_path)
    made = read_card(tmp_path / "a/checkpoint")
    assert made.autoencoder is not None and made.autoencoder.about["role"] == "autoencoder"
    assert len(made.components) == 2
    files[1]["member"] = "other.ckpt"
    with pytest.raises(CheckpointError, match=r"vq\.zip has no file 'other\.ckpt'"):
        fetch.fetch(card(*files), tmp_path / "a/checkpoint", project=tmp_path)


def test_hostile_files_are_refused_before_anything_is_written(site: str, tmp_path: Path) -> None:
    flag = tmp_path / "executed"
    code, _ = hostile.harmful(flag)["os.system"]
    (tmp_path / "site/model.pt").write_bytes(pickle_code.torch_zip(code))
    with pytest.raises(CheckpointError, match=r"model\.pt: the pickle asks for os\.system"):
        fetch.fetch(card({"url": f"{site}/model.pt"}), tmp_path / "a/checkpoint", project=tmp_path)
    assert not flag.exists() and not (tmp_path / "a/checkpoint").exists()


def test_a_family_without_converter_costs_no_download(site: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"family 'unheard' cannot be converted"):
        fetch.fetch(
            card({"url": f"{site}/model.pt"}, family="unheard"), tmp_path / "a/checkpoint", project=tmp_path
        )
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"version": 2, "files": {}}', '{"version": 1, "files": {"a": 1}}']
)
def test_a_lock_that_cannot_be_read(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content)
    with pytest.raises(CheckpointError, match=r"checkpoints\.lock cannot be read .*version control"):
        Lock(tmp_path)


def test_the_command(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"toy-model": card({"url": f"{site}/model.pt"})}
    monkeypatch.setattr(cards, "catalogue", lambda: known)
    monkeypatch.setattr(checkpoint, "downloadable", lambda: list(known))
    write_params(tmp_path, tiny_values() | {"model": "toy-model"})
    explained(adasde(["fetch", "--offline"], tmp_path), "the network may not be used", "--offline")
    ended = adasde(["fetch", "--json"], tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"stage": "fetch", "out": "data/checkpoint", "model": "toy-model"}
    assert (tmp_path / LOCK).exists()
    assert adasde(["fetch", "--offline", "--json"], tmp_path).code == 0  # what is there needs no network


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize("case", ["vp", "adm"])
def test_a_published_network_is_fetched_and_denoises(case: str, tmp_path: Path) -> None:
    expected = published(tmp_path / "edm.pkl", case)
    family, shape, about = describe(*CASES[case])
    edm = card(
        {"url": f"file://{tmp_path}/edm.pkl"}, family=family, shape=list(shape), classes=about["classes"]
    )
    fetch.fetch(edm, tmp_path / "data/checkpoint", project=tmp_path)
    model = load_model(tmp_path / "data/checkpoint")
    x, sigma = torch.randn(2, *shape), torch.tensor(0.7)
    labels = (torch.tensor([3, 4]),) if model.classes else ()
    found = model.bind([3, 4])(x, sigma)
    torch.testing.assert_close(found, expected(x, sigma, *labels), rtol=0, atol=2e-5)
    assert (model.name, model.classes) == ("toy-model", about["classes"])
