"""Predictors as the authors' release pickles them: a persistent object that carries source code."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

PREDICTORS = json.loads((Path(__file__).parents[1] / "data" / "released_predictors.json").read_text())
NAME, ENTRY = next(iter(PREDICTORS.items()))


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def write_predictor(path: Path, entry: dict[str, Any] = ENTRY, **changes) -> Path:
    """A file of the structure of the release's; ``changes`` replace keys of its state."""
    parameters = {key: torch.nn.Parameter(torch.tensor(raw)) for key, raw in entry["raw_parameters"].items()}
    state = {**entry["config"], "_parameters": parameters, "_buffers": {}, "training": False} | changes
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('executed')",
        "class_name": "Predictor",
    }
    with pytest.MonkeyPatch.context() as patch:
        reconstruct = _stand_in(patch)
        path.write_bytes(pickle.dumps({"model": Calls(reconstruct, meta | {"state": state})}))
    return path


def _stand_in(patch: pytest.MonkeyPatch):
    """A stand-in for NVIDIA's function, so that pickles can name it."""
    module = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("must not be called")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    patch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    patch.setitem(sys.modules, "torch_utils.persistence", module)
    return _reconstruct_persistent_obj
