"""EDM's published pickles: opened as data, converted, loaded; and what is refused of them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
from golden_edm_nets import CASES, inputs, named_weights
from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.models.families.edm.family import BUILDERS, describe
from adasde.models.loading import load_model
from adasde.models.registry import converted
from adasde.models.safe_pickle import Opened, open_checkpoint

NAMES = {"VP": "VPPrecond", "IDDPM": "iDDPMPrecond", "EDM": "EDMPrecond", "VE": "VEPrecond"}


class Persistent:
    """Pickles as NVIDIA's wrapper does: a name, a state and the source code of a class."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name = class_name
        self.state = state

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit(77)"}
        rebuild = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        return rebuild, ({**meta, "class_name": self.class_name, "state": self.state},)


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that such pickles name, for as long as they are written."""
    module = ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("executed")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    vars(module)["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def wrapped(module: nn.Module, arguments: Mapping[str, Any] | None) -> Persistent:
    """A network as NVIDIA's pickles hold it: wrappers within wrappers, plain containers of torch between."""
    kind = type(module).__name__
    children = {
        name: child if isinstance(child, nn.ModuleDict) else wrapped(child, {})
        for name, child in module._modules.items()
        if child is not None
    }
    for child in children.values():
        if isinstance(child, nn.ModuleDict):
            for name, inner in list(child._modules.items()):
                child._modules[name] = wrapped(inner, {})  # type: ignore[assignment]
    state = {
        "training": False,
        "_parameters": dict(module._parameters),
        "_buffers": {
            name: value
            for name, value in module._buffers.items()
            if name not in module._non_persistent_buffers_set
        },
        "_modules": children,
        "_forward_hooks": {},
        "_init_args": (),
        "_init_kwargs": None if arguments is None else dict(arguments),
    }
    return Persistent(NAMES.get(kind, kind), state)


def published(path: Path, case: str, **changes: Any) -> nn.Module:
    """Write the pickle of a case; the network that is in it."""
    class_name, arguments = CASES[case]
    family, shape, about = describe(class_name, arguments)
    network = BUILDERS[family](shape, about).eval().requires_grad_(False)
    network.load_state_dict(named_weights(network.state_dict()))
    document = {
        "ema": wrapped(network, {**arguments, "dropout": 0.13, "use_fp16": True, **changes}),
        "loss_fn": Persistent("EDMLoss", {"P_mean": -1.2, "sigma_data": 0.5}),
        "augment_pipe": None,
        "dataset_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "use_labels": False},
    }
    path.write_bytes(pickle.dumps(document))
    fresh = BUILDERS[family](shape, about).eval()
    fresh.load_state_dict(named_weights(fresh.state_dict()))
    return fresh


def folder_of(path: Path, opened: Opened, family: str, shape: tuple[int, ...]) -> Path:
    """The checkpoint folder of an opened file."""
    from adasde.models.checkpoint import Description, add_component

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
