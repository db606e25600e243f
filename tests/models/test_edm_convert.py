"""EDM's published pickles: opened as data, converted, loaded; and what is refused of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from edm_pickles import nvidia, published  # noqa: F401 (a fixture)
from golden_edm_nets import CASES, inputs
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.core.registry import converted
from adasde.models.families.edm.family import describe
from adasde.models.loading import load_model
from adasde.models.safe_pickle import Opened, open_checkpoint


def folder_of(path: Path, opened: Opened, family: str, shape: tuple[int, ...]) -> Path:
    """The checkpoint folder of an opened file."""
    from adasde.models.core.checkpoint import Description, add_component

    result = converted(family, opened)
    path.mkdir()
    safetensors.torch.save_file(result.tensors, path / "model.safetensors")
    head = {"name": "x", "data": "x", "license": "x", "shape": shape, "sigma_min": 0.002, "sigma_max": 80.0}
    add_component(path, "model", result.family, result.about, description=Description(**head))
    (path / "features.safetensors").write_bytes(b"")
    add_component(path, "features", "digit-classifier", {})
    return path


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize("case", CASES)
def test_a_published_pickle_becomes_a_model_with_the_same_outputs(case: str, tmp_path: Path) -> None:
    expected = published(tmp_path / "edm.pkl", case)
    family, shape, _ = describe(*CASES[case])
    opened = open_checkpoint(tmp_path / "edm.pkl")
    model = load_model(folder_of(tmp_path / "checkpoint", opened, family, shape))
    x, labels = inputs((2, *shape), 1.0, model.classes)
    sigma = torch.tensor(1.0)
    told: tuple[Tensor, ...] = (labels,) if model.classes else ()
    denoise = model.bind(labels.tolist()) if model.classes else model.denoise
    torch.testing.assert_close(denoise(x, sigma), expected(x, sigma, *told), rtol=0, atol=2e-5)


@pytest.mark.usefixtures("nvidia")
def test_arguments_without_names_are_known_by_their_places(tmp_path: Path) -> None:
    published(tmp_path / "edm.pkl", "vp")
    opened = open_checkpoint(tmp_path / "edm.pkl")
    outer = opened.about["modules"][""]
    outer["args"] = [outer["kwargs"].pop("img_resolution"), outer["kwargs"].pop("img_channels")]
    assert converted("edm-song-unet", opened).about == describe(*CASES["vp"])[2]


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_blocks": 1}, r"\d+ differ, for instance model\.dec\.\S+ is \[.*\] in place of"),
        ({"label_dim": 3}, r"2 differ, for instance model.map_label.bias is missing in place of \[16\]"),
        ({"num_heads": 4}, "unknown settings num_heads"),
        ({"resample_filter": [1, 2]}, "resamples with another filter than it describes"),
    ],
)
def test_weights_of_another_network_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    published(tmp_path / "edm.pkl", "vp", **changes)
    with pytest.raises(CheckpointError, match=words):
        converted("edm-song-unet", open_checkpoint(tmp_path / "edm.pkl"))


def test_weights_alone_do_not_say_enough() -> None:
    with pytest.raises(CheckpointError, match="does not say how its network is built"):
        converted("edm-dhariwal-unet", Opened({}, {"format": "torch"}))
