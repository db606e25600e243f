"""Reference statistics of the user's own images, and what the pipeline compares with."""

from __future__ import annotations

import io
import json
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import adasde, explained
from PIL import Image
from tiny import STAGES, tiny_values, write_params

from adasde.errors import CheckpointError, DataError
from adasde.evaluation.features import load_features
from adasde.evaluation.image_folder import ImageFiles
from adasde.evaluation.metrics import Statistics, image_features
from adasde.evaluation.statistics import reference_of
from adasde.models.families.toy.data import real_images
from adasde.models.hub import cards, fetch
from adasde.models.hub.cards import card_of
from adasde.models.hub.lockfile import Lock
from adasde.utils.atomic_io import sha256_file

DIGITS = (1, 8, 8)


def png(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def digits(count: int) -> list[bytes]:
    return [png(image[0].numpy()) for image in real_images("digits")[:count]]


def fill(folder: Path, count: int) -> Path:
    for index, content in enumerate(digits(count)):
        path = folder / f"{index % 3}/{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def expected(count: int) -> Statistics:
    return Statistics.of(image_features(real_images("digits")[:count], load_features("digits")))


def close(found: Statistics, wanted: Statistics) -> None:
    np.testing.assert_allclose(found.mu, wanted.mu, atol=1e-5)
    np.testing.assert_allclose(found.sigma, wanted.sigma, atol=1e-5)


def test_a_folder_and_an_archive_have_the_statistics_of_their_images(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 150)
    (folder / ".hidden.png").write_bytes(b"not an image")
    (folder / "labels.txt").write_text("not an image")
    names = {f"{index:05}.png": content for index, content in enumerate(digits(150))}
    archive = zipped(tmp_path / "images.zip", names | {"__MACOSX/a.png": b"?", "dataset.json": b"{}"})
    for data, out in ((folder, "a.npz"), (archive, "b.npz")):
        ended = adasde(
            ["reference", "--data", str(data), "--model", "digits", "--out", out, "--json"], tmp_path
        )
        assert ended.code == 0, ended.err
        answer = json.loads(ended.out)
        assert answer == {
            "stage": "reference",
            "out": out,
            "images": 150,
            "sha256": sha256_file(tmp_path / out),
        }
        close(Statistics.load(tmp_path / out), expected(150))
        assert "reference: 150/150 images" in ended.err
    assert not list(tmp_path.glob(".*.part"))


def test_a_run_that_was_stopped_carries_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = import_module("adasde.evaluation.statistics")
    monkeypatch.setattr(moments, "BATCH", 10)
    monkeypatch.setattr(moments, "KEEP", 2)
    data, out, read = fill(tmp_path / "images", 60), tmp_path / "a.npz", []
    original = ImageFiles.read

    def watched(self: ImageFiles, names: list[str], *, stop: int) -> torch.Tensor:
        if len(read) == stop:
            raise KeyboardInterrupt
        read.append(len(names))
        return original(self, names)

    monkeypatch.setattr(ImageFiles, "read", lambda self, names: watched(self, names, stop=6))
    with pytest.raises(KeyboardInterrupt):
        reference_of(data, "digits", out=out)
    assert read == [1, 10, 10, 10, 10, 10] and not out.exists()
    read.clear()
    monkeypatch.setattr(ImageFiles, "read", lambda self, names: watched(self, names, stop=99))
    reference_of(data, "digits", out=out)
    assert read == [10, 10]  # forty were kept
    close(Statistics.load(out), expected(60))
    assert not list(tmp_path.glob(".*.part"))


def test_sums_of_other_images_are_not_carried_on(tmp_path: Path) -> None:
    data, out = fill(tmp_path / "images", 60), tmp_path / "a.npz"
    moments = import_module("adasde.evaluation.statistics")
    sums = moments.Moments.about(np.zeros(32))
    sums.add(torch.ones(20, 32))
    sums.save(tmp_path / ".a.npz.part", "of something else")
    reference_of(data, "digits", out=out)
    close(Statistics.load(out), expected(60))


def test_sums_in_the_format_of_an_older_version_are_computed_again(tmp_path: Path) -> None:
    data, out = fill(tmp_path / "images", 60), tmp_path / "a.npz"
    with (tmp_path / ".a.npz.part").open("wb") as stream:
        np.savez(stream, about=np.array('[40, "a hash"]'), centre=np.zeros(32))
    reference_of(data, "digits", out=out)
    close(Statistics.load(out), expected(60))
    assert not list(tmp_path.glob(".*.part"))


def large(width: int, height: int) -> bytes:
    return png(np.zeros((height, width), np.uint8))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (large(9, 8), "a.png has 9×8 pixels, the model's images 8×8"),
        (large(20_000, 20_000), "a.png cannot be read as an image"),  # 50 kB that unpack to 400 MB
        (png(np.zeros((8, 8, 4), np.uint8)), "has the mode 'RGBA'; a model of 1 channels takes"),
        (digits(1)[0][:60], "a.png cannot be read as an image"),
        (png(np.zeros((8, 8), np.uint8), "GIF"), "a.png cannot be read as an image"),
        (b"", "a.png cannot be read as an image"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    for data in (tmp_path / "images", zipped(tmp_path / "images.zip", {"a.png": content})):
        if data.suffix != ".zip":
            data.mkdir()
            (data / "a.png").write_bytes(content)
        with pytest.raises(DataError) as caught:
            reference_of(data, "digits", out=tmp_path / "a.npz")
        assert words in str(caught.value) and str(data) in str(caught.value)
    assert not (tmp_path / "a.npz").exists()


def test_what_is_no_set_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no archive")
    cases = {
        "none": "there is no folder or archive",
        "empty": r"holds no images: \.png",
        "text.zip": "cannot be read as a folder or zip archive",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            ImageFiles(tmp_path / name, shape=DIGITS)


def test_members_that_are_too_large_or_encrypted_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "images.zip", {"a.png": digits(1)[0]})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png is encrypted"):
        ImageFiles(tmp_path / "locked.zip", shape=DIGITS)
    monkeypatch.setattr("adasde.evaluation.image_folder.LARGEST", 10)
    with pytest.raises(DataError, match="too many for an image"):
        ImageFiles(path, shape=DIGITS)
    with pytest.raises(DataError, match="too many for an image"):
        ImageFiles(fill(tmp_path / "images", 1), shape=DIGITS)


def test_colours_are_grey_pictures_too_and_jpegs_are_read(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    members = {"a.png": png(grey), "b.JPG": png(grey, "JPEG", quality=95)}
    files = ImageFiles(zipped(tmp_path / "images.zip", members), shape=(3, 16, 16))
    images = files.read(files.names)
    assert images.shape == (2, 3, 16, 16)
    assert torch.equal(images[0], torch.from_numpy(grey).expand(3, 16, 16))
    assert (images[1].int() - images[0].int()).abs().max() < 12


def reference(folder: Path, given: str | None) -> Any:
    values = tiny_values()
    values["evaluate"]["reference"] = given
    write_params(folder, values)
    return adasde(STAGES["reference"], folder)


def test_the_pipeline_compares_with_given_images(project: Path) -> None:
    before = json.loads((project / "data/metrics/floor.json").read_text())
    zipped(project / "mine.zip", {f"{i}.png": content for i, content in enumerate(digits(300))})
    assert reference(project, "mine.zip").code == 0
    close(Statistics.load(project / "data/reference/statistics.npz"), expected(300))
    after = json.loads((project / "data/metrics/floor.json").read_text())
    assert after["protocol_hash"] != before["protocol_hash"]
    (row,) = after["rows"].values()
    assert set(row) == {"fid", "kid", "precision", "recall", "nfe"}


def test_the_pipeline_compares_with_given_statistics_by_fid_alone(project: Path) -> None:
    before = json.loads((project / "data/metrics/nfe3.json").read_text())
    Statistics.load(project / "data/reference/statistics.npz").save(project / "mine.npz")
    ended = reference(project, f"file://{project}/mine.npz")
    assert ended.code == 0, ended.err
    assert not (project / "data/reference/images.safetensors").exists()
    for stage in ("evaluate", "report"):
        ended = adasde(STAGES[stage], project)
        assert ended.code == 0, ended.err
    after = json.loads((project / "data/metrics/nfe3.json").read_text())
    assert after["protocol_hash"] == before["protocol_hash"]  # the same statistics
    for label, row in after["rows"].items():
        assert set(row) == {"fid", "nfe"} and row["fid"] == before["rows"][label]["fid"]


def test_statistics_of_another_extractor_are_refused_before_anything_is_drawn(project: Path) -> None:
    Statistics(np.zeros(5), np.eye(5)).save(project / "other.npz")
    ended = reference(project, "other.npz")
    explained(ended, "other.npz are of 5 features, the extractor of 'digits' has 32", "--data")
    assert "evaluations" not in ended.err


def test_a_model_without_real_images_uses_the_statistics_of_its_card(
    project: Path, params: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = import_module("adasde.evaluation.reference_data")
    statistics = expected(200)
    sha256 = statistics.save(project / "published.npz")
    about = cards.CardStatistics.model_construct(url=f"file://{project}/published.npz", sha256=None)
    card = card_of("cifar10").model_copy(update={"name": "digits", "reference": about})
    monkeypatch.setattr(given, "SOURCES", {})
    monkeypatch.setattr(given, "catalogue", lambda: {"digits": card})
    monkeypatch.chdir(project)
    checkpoint = project / "data/checkpoint"
    model = import_module("adasde.models").load_model(checkpoint)
    beside = project / "data/reference/statistics.npz"
    real, moments = given.real_or_moments(params, model, checkpoint=checkpoint, beside=beside)
    assert real is None
    close(moments, statistics)
    assert Lock(project).sha256("digits/published.npz") == sha256
    expected(100).save(project / "published.npz")
    with pytest.raises(CheckpointError, match="not the file that this project has trusted"):
        fetch.reference_file(card, project / "data", project=project)
    monkeypatch.setattr(given, "catalogue", dict)
    with pytest.raises(CheckpointError, match=r"no real images come with the model 'digits'.*evaluate\.ref"):
        given.real_or_moments(params, model, checkpoint=checkpoint, beside=beside)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "digits"], "goes with --data"),
        (["--data", "x"], "goes with --out FILE.npz"),
        (["--data", "x", "--out", "y"], "goes with --out FILE.npz"),
        (["--data", "x", "--out", "y.npz", "--metrics", "z"], "without --metrics"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], words: str, tmp_path: Path) -> None:
    ended = adasde(["reference", *options], tmp_path)
    assert ended.code == 2 and words in " ".join(ended.err.replace("│", " ").split())
