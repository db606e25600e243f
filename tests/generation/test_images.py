"""`adasde sample --seeds`: any seeds, resumable, in folders, archives, buckets, on several workers."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tables import random_table
from typer.testing import CliRunner, Result

import adasde
from adasde.cli.main import app
from adasde.errors import CoefficientsError, ParamsError
from adasde.generation import Request, draw_seeds, parse_seeds
from adasde.generation.sinks import ImageFolder, ImageSink, file_of
from adasde.models.loading import load_model
from adasde.storage import LocalStore
from adasde.utils.batching import chunks

Draw = Callable[..., Result]


@pytest.fixture(scope="module")
def coefficients(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("coefficients") / "nfe5.json"
    model = load_model("digits")
    replace(random_table(), model={"name": model.name, "sha256": model.sha256}).save(path)
    return path


@pytest.fixture
def draw(coefficients: Path, tmp_path: Path, monkeypatch) -> Draw:
    monkeypatch.chdir(tmp_path)

    def draw(seeds: str, out: str, *words: str, source: Path = coefficients) -> Result:
        arguments = [
            "sample",
            "--coefficients",
            str(source),
            "--seeds",
            seeds,
            "--out",
            out,
            "--json",
            *words,
        ]
        return CliRunner().invoke(app, arguments)

    return draw


def told(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def expected(coefficients: Path, seeds: list[int]) -> np.ndarray:
    model = load_model("digits")
    table = adasde.Coefficients.load(coefficients)
    start = adasde.latents(seeds, model.shape)
    images = adasde.sample(model.denoise, start, table, adasde.SeededNoise(seeds))
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", [7]), ("0-3", [0, 1, 2, 3]), ("5, 1-2,1", [5, 1, 2]), ("18446744073709551615", [2**64 - 1])],
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "3-1", "a", "1,,2", "-4", "18446744073709551616"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(ParamsError, match=r"neither a number nor a range .* 0-49999"):
        parse_seeds(text)


def test_a_folder_has_the_images_of_its_seeds(draw: Draw, coefficients: Path) -> None:
    summary = told(draw("998-1002,5", "out", "--batch", "4"))
    assert (summary["made"], summary["found"], summary["nfe"]) == (6, 0, 5)
    seeds = [998, 999, 1000, 1001, 1002, 5]
    files = [Path("out") / file_of(seed) for seed in seeds]
    assert [str(f) for f in files[1:3]] == ["out/000000/000999.png", "out/001000/001000.png"]
    ours = np.stack([np.asarray(Image.open(file)) for file in files])
    assert np.abs(ours.astype(int) - expected(coefficients, seeds)[:, 0].astype(int)).max() <= 1


def test_what_is_finished_is_kept_and_what_was_altered_is_made_again(draw: Draw) -> None:
    told(draw("0-9", "out", "--batch", "4"))
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.png")}
    lost, altered = Path("out") / file_of(2), Path("out") / file_of(7)
    lost.unlink()
    altered.write_bytes(b"nothing")
    summary = told(draw("0-11", "out", "--batch", "3"))
    assert (summary["made"], summary["found"]) == (4, 8)
    kept = [path for path in before if path not in (lost, altered)]
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)
    assert Image.open(altered).size == (8, 8)
    for seed in (4, 7):  # the ends of a piece
        (Path("out") / file_of(seed)).write_bytes(b"nothing")
    for made in (2, 0):  # the record of those between them still counts
        assert told(draw("0-11", "out", "--batch", "4"))["made"] == made


def test_images_of_other_settings_are_not_mixed(draw: Draw, coefficients: Path, tmp_path: Path) -> None:
    told(draw("0-3", "out"))
    other = tmp_path / "other.json"
    table = adasde.Coefficients.load(coefficients)
    replace(table, gamma=torch.zeros(3)).save(other)
    result = draw("0-3", "out", source=other)
    assert result.exit_code == 1
    assert "holds images of other settings (coefficients changed). Choose another --out" in result.stderr


@pytest.mark.parametrize("suffix", [".zip", ".npz"])
def test_archives(draw: Draw, coefficients: Path, suffix: str) -> None:
    summary = told(draw("0-9", f"images{suffix}", "--batch", "4"))
    assert summary["made"] == 10
    assert not list(Path().glob("*.parts"))
    if suffix == ".npz":
        with np.load(f"images{suffix}") as arrays:
            images = arrays["arr_0"][..., 0]
    else:
        with zipfile.ZipFile(f"images{suffix}") as archive:
            images = np.stack([np.asarray(Image.open(archive.open(name))) for name in archive.namelist()])
    assert np.abs(images.astype(int) - expected(coefficients, list(range(10)))[:, 0].astype(int)).max() <= 1
    again = told(draw("0-9", f"images{suffix}"))
    assert (again["made"], again["found"]) == (0, 10)
    others = draw("0-10", f"images{suffix}")
    assert others.exit_code == 1 and "is there with 10 other seeds" in others.stderr


def test_an_archive_of_somebody_else_is_not_replaced(draw: Draw) -> None:
    Path("images.zip").write_bytes(b"mine")
    result = draw("0-3", "images.zip")
    assert result.exit_code == 1 and "is no archive of this program" in result.stderr
    assert Path("images.zip").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("out", "sheet"),
    [("out", "out/compare.png"), ("a/b.zip", "a/b-compare.png"), ("a/b.npz", "a/b-compare.png")],
)
def test_a_grid_and_a_comparison(draw: Draw, out: str, sheet: str) -> None:
    """Also of an archive that is already there."""
    pictures = []
    for _ in range(2):
        summary = told(draw("0-11", out, "--grid", "grid.png", "--compare", "ddim,dpm2,ipndm"))
        assert (summary["grid"], summary["compare"]) == ("grid.png", sheet)
        assert Image.open("grid.png").size == (8 * 9 - 1, 2 * 9 - 1)
        assert Image.open(sheet).size[0] > 1000
        pictures.append([Path(name).read_bytes() for name in ("grid.png", sheet)])
        for name in ("grid.png", sheet):
            Path(name).unlink()
    assert pictures[0] == pictures[1]


def test_solvers_that_cannot_be_compared_are_refused_before_anything_is_drawn(draw: Draw) -> None:
    result = draw("0-3", "out", "--compare", "ddim,dpm3")
    assert result.exit_code == 1 and "unknown solver 'dpm3'" in result.stderr
    assert not Path("out").exists()


def test_several_processes_share_the_work(draw: Draw, monkeypatch) -> None:
    """As torchrun starts them; the first waits for the others before it packs."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert told(draw("0-9", "images.zip", "--batch", "2"))["made"] == 4
    assert not Path("images.zip").exists()
    monkeypatch.setenv("RANK", "0")
    assert told(draw("0-9", "images.zip", "--batch", "2"))["made"] == 6
    with zipfile.ZipFile("images.zip") as archive:
        assert len(archive.namelist()) == 10


def test_another_checkpoint_and_another_guidance_are_refused(draw: Draw, coefficients: Path) -> None:
    result = draw("0-3", "out", "--model", "glyphs")
    assert result.exit_code == 1 and "distilled for 'digits'" in result.stderr
    result = draw("0-3", "out", "--guidance", "2")
    assert result.exit_code == 1 and "distilled for guidance 1, not 2" in result.stderr
    assert not Path("out").exists()


def test_missing_words_are_wrong_usage(draw: Draw) -> None:
    assert CliRunner().invoke(app, ["sample", "--seeds", "0-3"]).exit_code == 2
    assert CliRunner().invoke(app, ["sample"]).exit_code == 2


def test_a_bucket_is_a_place_too(coefficients: Path, tmp_path: Path) -> None:
    table = adasde.Coefficients.load(coefficients)
    request = Request("digits", table.to_document())
    images = draw_seeds(request, [3, 4])
    sinks = [ImageSink(ImageFolder(tmp_path / "folder")), ImageSink(LocalStore(tmp_path / "store"))]
    for sink in sinks:
        sink.claim({"model": "digits"})
        sink.add([3, 4], images)
        assert sink.finished([4, 3, 5]) == {3, 4}
    assert list(sinks[0].read([3, 4])) == list(sinks[1].read([3, 4]))
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [".records", "000000"]
    (tmp_path / "store" / file_of(3)).write_bytes(b"altered")
    assert sinks[1].finished([4, 3]) == {4}


def test_a_worker_that_holds_other_weights_refuses_to_draw(coefficients: Path) -> None:
    document = adasde.Coefficients.load(coefficients).to_document()
    others = document | {"model": {"name": "digits", "sha256": "0" * 64}}
    with pytest.raises(CoefficientsError, match="distilled for 'digits' with sha256 000000000000…"):
        draw_seeds(Request("digits", others), [3])


def test_pieces() -> None:
    assert list(chunks([5, 6, 7], 2)) == [[5, 6], [7]]


@pytest.mark.long
def test_a_dask_cluster_draws_the_same_images(draw: Draw) -> None:
    from distributed import LocalCluster

    told(draw("0-9", "alone", "--batch", "2"))
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        summary = told(
            draw("0-9", str(Path("there").resolve()), "--batch", "2", "--dask", cluster.scheduler_address)
        )
    assert summary["made"] == 10
    for seed in range(10):
        assert (Path("alone") / file_of(seed)).read_bytes() == (Path("there") / file_of(seed)).read_bytes()


def test_a_cluster_that_is_not_there(draw: Draw, monkeypatch) -> None:
    monkeypatch.setattr("flows.system.dask.TIMEOUT", 1.0)
    result = draw("0-3", "out", "--dask", "tcp://127.0.0.1:9")
    assert result.exit_code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9 (nothing in 1 seconds)" in result.stderr
