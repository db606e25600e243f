"""EDM's published pickles, written by tests."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from golden_edm_nets import CASES, named_weights
from torch import nn

from adasde.models.families.edm.family import BUILDERS, describe

NAMES = {"IDDPMPrecond": "iDDPMPrecond"}


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
