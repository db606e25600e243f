"""Images for rows of seeds, classes and prompts, as the MLflow model draws them."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_networks as tiny
from PIL import Image
from tables import random_table

import adasde
from adasde.errors import CheckpointError, CoefficientsError, DataError, ParamsError
from adasde.generation import Request
from adasde.generation.serving import draw_rows, prepare
from adasde.models.core.checkpoint import find
from adasde.models.loading import load_model
from adasde.types import Model
from adasde.utils.pixels import to_uint8

SEEDS = [3, 2**63 - 1, 0]
PROMPTS = ["a cat", "cat"]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADASDE_MODEL", "ADASDE_DEVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes a coefficient file for a model, whose facts may be changed."""

    def make(spec: str, **changes: Any) -> Path:
        model = load_model(spec)
        random_table(model={"name": spec, "sha256": model.sha256} | changes).save(tmp_path / "nfe5.json")
        return tmp_path / "nfe5.json"

    return make


def images_of(drawn: dict[str, list[Any]]) -> list[np.ndarray]:
    pictures = [Image.open(io.BytesIO(base64.b64decode(text, validate=True))) for text in drawn["image"]]
    assert all(picture.format == "PNG" for picture in pictures)
    sizes = zip(drawn["width"], drawn["height"], strict=True)
    assert [picture.size for picture in pictures] == list(sizes)
    return [np.asarray(picture).astype(int) for picture in pictures]


def expected(model: Model, request: Request, seeds: list[int], bound: list[int]) -> np.ndarray:
    """What ``adasde.sample`` makes of every seed alone; the classes or prompts are those of ``bound``."""
    table = adasde.Coefficients.from_document(dict(request.coefficients))
    images = [
        model.images(
            adasde.sample(
                model.bind([of], request.guidance),
                adasde.latents([seed], model.shape),
                table,
                adasde.SeededNoise([seed]),
            )
        )[0]
        for seed, of in zip(seeds, bound, strict=True)
    ]
    pixels = np.stack([to_uint8(image).permute(1, 2, 0).numpy().astype(int) for image in images])
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_images_are_those_of_their_seeds(make: Callable[..., Path], batch: int) -> None:
    request = prepare(make("digits"))
    ours = np.stack(images_of(draw_rows(request, {"seed": SEEDS}, batch=batch)))
    assert np.abs(ours - expected(load_model("digits"), request, SEEDS, SEEDS)).max() <= 1
    assert np.ptp(ours) > 100  # not blank


def test_classes_are_chosen(make: Callable[..., Path]) -> None:
    request = prepare(make("glyphs", guidance=1.5))
    classes = [7, 0, 7]
    ours = np.stack(images_of(draw_rows(request, {"seed": [1, 1, 2], "class": classes}, batch=2)))
    glyphs = load_model("glyphs")
    assert np.abs(ours - expected(glyphs, request, [1, 1, 2], classes)).max() <= 1
    assert np.abs(ours[0] - ours[1]).max() > 50 and np.abs(ours[0] - ours[2]).max() > 50
    own = images_of(draw_rows(request, {"seed": [1]}))[0]
    assert np.abs(own - expected(glyphs, request, [1], [1])[0]).max() <= 1


def test_prompts_are_chosen_and_latents_decoded(make: Callable[..., Path], tmp_path: Path) -> None:
    spec = tiny.save_text_to_image(tmp_path / "text")
    request = prepare(make(spec, guidance=7.5, name=spec))
    columns = {"seed": [5, 5, 6], "prompt": [PROMPTS[1], PROMPTS[0], PROMPTS[1]]}
    ours = np.stack(images_of(draw_rows(request, columns, batch=2)))
    assert ours.shape == (3, 16, 16, 3)  # the samples themselves are [4, 8, 8]
    theirs = expected(load_model(spec, prompts=PROMPTS), request, [5, 5, 6], [1, 0, 1])
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize(
    ("model", "columns", "message"),
    [
        ("digits", {"seed": [1], "size": [2]}, r"'digits' takes no column 'size'; its columns: seed\."),
        ("digits", {"seed": [1], "class": [2]}, r"'digits' takes no column 'class'; its columns: seed\."),
        ("glyphs", {"seed": [1], "prompt": ["a"]}, r"takes no column 'prompt'; its columns: seed, class\."),
        ("digits", {}, r"'digits' needs the column 'seed'"),
        ("digits", {"seed": [1, -1]}, r"seed must be an integer from 0 to 18446744073709551615 .*not -1\."),
        ("digits", {"seed": [2**64]}, r"seed must be an integer from 0"),
        ("digits", {"seed": [1.5]}, r"seed must be .* not 1\.5\."),
        ("digits", {"seed": [True]}, r"seed must be .* not True\."),
        ("glyphs", {"seed": [1], "class": [26]}, r"class must be an integer from 0 to \d+ .*not 26\."),
        ("glyphs", {"seed": [1], "class": [float("nan")]}, r"class must be an integer .*not nan\."),
    ],
)
def test_rows_that_are_refused(
    make: Callable[..., Path], model: str, columns: dict[str, list[Any]], message: str
) -> None:
    request = prepare(make(model))
    with pytest.raises(ParamsError, match=message):
        draw_rows(request, columns)


def test_prompts_are_texts(make: Callable[..., Path], tmp_path: Path) -> None:
    request = prepare(make(tiny.save_text_to_image(tmp_path / "text")))
    with pytest.raises(ParamsError, match=r"prompts are texts, one in every row, not None\."):
        draw_rows(request, {"seed": [1, 2], "prompt": ["cat", None]})


def test_a_network_that_is_not_here(make: Callable[..., Path]) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"network of these coefficients, 'elsewhere' with sha256 \w{12}…, cannot be loaded: .*no "
        r"packaged model and no folder.* Name its folder in the variable ADASDE_MODEL or in the setting",
    ):
        prepare(make("digits", name="elsewhere"))


def test_another_checkpoint_is_refused(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("digits", sha256="0" * 64)
    with pytest.raises(
        CoefficientsError, match=r"digits: .*with sha256 000000000000….*in the variable ADASDE_MODEL"
    ):
        prepare(path)
    monkeypatch.setenv("ADASDE_MODEL", "glyphs")
    with pytest.raises(CoefficientsError, match=r"glyphs: these coefficients were distilled for 'digits'"):
        prepare(make("digits"))


def test_a_checkpoint_elsewhere(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(find("digits"), tmp_path / "copy")
    path = make("digits", name="my digits")
    here = draw_rows(prepare(path, model="digits"), {"seed": SEEDS})
    monkeypatch.setenv("ADASDE_MODEL", str(folder))
    assert prepare(path).model == str(folder)
    assert prepare(path, model="digits").model == "digits"  # what the caller says goes before the variable
    assert draw_rows(prepare(path), {"seed": SEEDS}) == here
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"are not those of the card: their sha256"):
        prepare(path, model=f"{folder}/.")


def test_coefficients_of_no_model(tmp_path: Path) -> None:
    random_table().save(tmp_path / "nfe5.json")
    with pytest.raises(DataError, match=r"names no model: say which"):
        prepare(tmp_path / "nfe5.json")
    assert prepare(tmp_path / "nfe5.json", model="digits").model == "digits"
