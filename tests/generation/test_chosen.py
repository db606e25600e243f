"""`adasde sample --classes` and `--prompts`: an image depends on its own seed and on what was chosen."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_networks as tiny
from PIL import Image
from tables import random_table
from torch import Tensor
from typer.testing import CliRunner, Result

from adasde.cli.main import app
from adasde.errors import CheckpointError, ParamsError
from adasde.generation import Request, draw_seeds
from adasde.generation.conditions import described, parse_classes, parse_prompts
from adasde.generation.sinks import RECORDS, file_of
from adasde.models.loading import load_model

PROMPTS = ["a cat", "cat", "cat a cat"]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table_of(spec: str, *, guidance: float = 1.0) -> Request:
    """A request with random coefficients for ``spec``; they lie in nfe5.json."""
    about = {"name": spec, "sha256": load_model(spec).sha256, "guidance": guidance}
    table = random_table(model=about)
    table.save("nfe5.json")
    return Request.of(table)


@pytest.fixture
def glyphs() -> Request:
    return table_of("glyphs", guidance=1.5)


@pytest.fixture
def texts(tmp_path: Path) -> Request:
    return table_of(tiny.save_text_to_image(tmp_path / "text"), guidance=3.0)


def draw(seeds: str, out: str, *words: str) -> Result:
    given = ["sample", "--coefficients", "nfe5.json", "--seeds", seeds, "--out", out, "--json", *words]
    return CliRunner().invoke(app, given)


def made(result: Result) -> int:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])["made"]


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    assert all(word in result.stderr for word in words), result.stderr


def image_of(folder: str, seed: int) -> np.ndarray:
    return np.asarray(Image.open(Path(folder) / file_of(seed))).astype(int)


def pixels(images: Tensor) -> np.ndarray:
    """[B, H, W, C] of uint8 [B, C, H, W]."""
    return images.permute(0, 2, 3, 1).numpy().astype(int)


def test_classes_take_turns_by_the_seed(glyphs: Request) -> None:
    """Another batch size, other seeds beside it: the same image; and it is that of its class."""
    assert made(draw("10-15", "all", "--classes", "7,0,3", "--batch", "4")) == 6
    assert made(draw("11,14", "some", "--classes", "7,0,3", "--batch", "1")) == 2
    seeds, classes = [*range(10, 16)], [0, 3, 7, 0, 3, 7]  # 10 % 3 = 1
    alone = pixels(draw_seeds(glyphs, seeds, conditions=classes))
    ours = np.stack([image_of("all", seed) for seed in seeds])
    assert np.abs(ours - alone).max() <= 1
    assert np.abs(ours - pixels(draw_seeds(glyphs, seeds))).max() > 50
    for seed in (11, 14):
        assert np.abs(image_of("some", seed) - image_of("all", seed)).max() <= 1


def test_one_class(glyphs: Request) -> None:
    assert made(draw("0-3", "three", "--class", "3")) == 4
    alone = pixels(draw_seeds(glyphs, range(4), conditions=[3] * 4))
    assert np.abs(np.stack([image_of("three", seed) for seed in range(4)]) - alone).max() <= 1


def test_other_classes_are_not_mixed_in(glyphs: Request) -> None:
    made(draw("0-3", "out", "--classes", "1,2"))
    assert json.loads((Path("out") / RECORDS / "about.json").read_text())["classes"] == [1, 2]
    for words in (["--classes", "2,1"], []):
        refused(draw("0-5", "out", *words), "holds images of other settings (classes changed)")
    assert made(draw("0-5", "out", "--classes", "1,2")) == 2


@pytest.mark.parametrize("out", ["images.zip", "images.npz"])
def test_an_archive_remembers_its_classes(glyphs: Request, out: str) -> None:
    assert made(draw("0-3", out, "--classes", "1,2")) == 4
    assert made(draw("0-3", out, "--classes", "1,2")) == 0
    refused(draw("0-3", out, "--classes", "1,3"), "other settings (classes changed)")


def test_the_comparison_and_the_grid_have_the_same_classes(
    glyphs: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {}
    monkeypatch.setattr(
        "adasde.generation.generate.as_comparison", lambda found, *rest, **words: rows.update(found)
    )
    made(draw("0-3", "chosen", "--class", "3", "--compare", "heun", "--grid", "grid.png"))
    chosen = {name: images.numpy().astype(int) for name, images in rows.items()}
    made(draw("3", "third", "--compare", "heun"))  # seed 3 has class 3 of itself
    for name, images in rows.items():
        assert np.abs(chosen[name][3] - images[0].numpy()).max() <= 1
        assert np.abs(chosen[name][2] - images[0].numpy()).max() > 50
    assert Image.open("grid.png").size[0] > 4 * 8


def test_prompts_of_a_file_take_turns(texts: Request) -> None:
    Path("wishes.txt").write_text("\n".join(PROMPTS) + "\n\n")
    assert made(draw("4-6", "out", "--prompts", "wishes.txt", "--batch", "2")) == 3
    alone = pixels(draw_seeds(texts, [4, 5, 6], conditions=[PROMPTS[1], PROMPTS[2], PROMPTS[0]]))
    ours = np.stack([image_of("out", seed) for seed in (4, 5, 6)])
    assert np.abs(ours - alone).max() <= 1
    assert json.loads((Path("out") / RECORDS / "about.json").read_text())["prompts"] == PROMPTS
    refused(draw("4-7", "out", "--prompts", "a cat"), "other settings (prompts changed)")
    assert made(draw("4-7", "out", "--prompts", "wishes.txt")) == 1


def test_the_prompts_of_the_folder_are_settings_too(texts: Request, tmp_path: Path) -> None:
    """A prompts.txt that is changed between two calls is seen."""
    from adasde.generation.drawing import cached_model

    (tmp_path / "text/prompts.txt").write_text("cat\n")
    assert made(draw("0", "images.zip")) == 1
    with zipfile.ZipFile("images.zip") as archive:
        assert json.loads(archive.comment)["prompts"] == ["cat"]
    (tmp_path / "text/prompts.txt").write_text("a cat\n")
    cached_model.cache_clear()  # another process
    refused(draw("0", "images.zip"), "other settings (prompts changed)")


def test_many_prompts_are_recorded_by_their_hash(texts: Request) -> None:
    about = described(load_model(texts.model), tuple(f"cat {k}" for k in range(9999)))["prompts"]
    assert about["count"] == 9999 and len(about["sha256"]) == 64


def test_classes_and_prompts_that_no_model_takes(glyphs: Request) -> None:
    refused(draw("0", "out", "--classes", "3,26"), "'glyphs' has the classes 0 to 25; there is no class 26.")
    refused(draw("0", "out", "--prompts", "a cat"), "'glyphs' draws no prompts; leave --prompts out.")
    table_of("digits")
    refused(draw("0", "out", "--classes", "3"), "'digits' has no classes; leave --classes out.")
    assert not Path("out").exists()


def test_a_text_to_image_model_has_no_classes(texts: Request) -> None:
    refused(draw("0", "out", "--classes", "3"), "has no classes; use --prompts instead.")


def test_wrong_usage(glyphs: Request) -> None:
    both = draw("0", "out", "--classes", "1", "--prompts", "a cat")
    assert both.exit_code == 2 and "never both" in both.stderr
    assert CliRunner().invoke(app, ["sample", "--nfe", "5", "--classes", "1"]).exit_code == 2


@pytest.mark.parametrize("text", ["", "3-1", "a", "1,,2", "-4", "1000000"])
def test_texts_that_name_no_classes(text: str) -> None:
    with pytest.raises(ParamsError, match=r"in the classes .* neither a number nor a range .* 0,3,7 or 0-9"):
        parse_classes(text)


def test_what_a_prompt_is(tmp_path: Path) -> None:
    assert parse_classes("7-9,0,8") == [7, 8, 9, 0]
    (tmp_path / "wishes").write_text("one\n two \n")
    assert parse_prompts("wishes") == ["one", "two"]
    assert parse_prompts(" a cat ") == ["a cat"]
    with pytest.raises(CheckpointError, match=r"wihses\.txt cannot be read"):
        parse_prompts("wihses.txt")
    with pytest.raises(ParamsError, match=r"--prompts is empty"):
        parse_prompts(" ")


def test_processes_of_torchrun_share_the_classes(glyphs: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    made(draw("0-5", "alone", "--classes", "4,2,9", "--batch", "2"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        made(draw("0-5", "shared", "--classes", "4,2,9", "--batch", "2"))
    assert all(np.array_equal(image_of("alone", seed), image_of("shared", seed)) for seed in range(6))


@pytest.mark.long
def test_a_dask_cluster_draws_the_same_classes(glyphs: Request) -> None:
    from distributed import LocalCluster

    made(draw("0-5", "alone", "--classes", "4,2,9", "--batch", "2"))
    there = str(Path("there").resolve())
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        words = ["--classes", "4,2,9", "--batch", "2", "--dask", cluster.scheduler_address]
        assert made(draw("0-5", there, *words)) == 6
    assert all(np.array_equal(image_of("alone", seed), image_of(there, seed)) for seed in range(6))
