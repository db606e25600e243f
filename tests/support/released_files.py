"""Predictors as the authors' release pickles them: a persistent object that carries source code."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """A file like the release's, without ``loss_fn``; ``changes`` replace keys of its state."""
    state = {**entry["config"], **parameters_of(entry["raw_parameters"]), "training": False} | changes
    with stand_ins() as make:
        path.write_bytes(pickle.dumps({"model": make("Predictor", state)}))
    return path


def write_released(
    path: Path,
    state: dict[str, Any],
    beside: dict[str, Any],
    *,
    place: str = "model",
    name: str = "adasde_predictor",
) -> Path:
    """A file as the authors' training writes it: a predictor, and ``loss_fn``, which names their solvers."""
    modules = {"sigmoid": torch.nn.Sigmoid(), "softmax": torch.nn.Softmax(dim=-1)}
    hooks = {f"_{kind}_hooks": OrderedDict() for kind in ("backward", "forward", "state_dict")}
    base = {"training": False, "_non_persistent_buffers_set": set(), "_modules": modules, "_init_args": ()}
    solvers = [f"{name.partition('_')[0]}_sampler", "dpm_sampler"]
    with stand_ins(*solvers) as make:
        named = dict(zip(("solver_stu", "solver_tea"), map(stand_in_of, solvers), strict=True))
        objects = {place: make(name, base | hooks | state), "loss_fn": make("some_loss", named | beside)}
        path.write_bytes(pickle.dumps(objects))
    return path


def parameters_of(raw: dict[str, Any], **buffers: Any) -> dict[str, Any]:
    """The parts of a module's state that hold numbers."""
    parameters = {key: torch.nn.Parameter(torch.as_tensor(value).float()) for key, value in raw.items()}
    return {"_parameters": parameters, "_buffers": buffers}


def stand_in_of(name: str) -> Any:
    """The function ``solvers.name``, which must not be called."""
    return getattr(sys.modules["solvers"], name)


@contextmanager
def stand_ins(*solvers: str) -> Iterator[Callable[[str, dict[str, Any]], Calls]]:
    """A maker of persistent objects, while NVIDIA's function and ``solvers`` can be named in pickles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
        reconstruct = _stand_in(patch, "torch_utils.persistence", "_reconstruct_persistent_obj")
        for solver in solvers:
            _stand_in(patch, "solvers", solver)
        about = {"type": "class", "version": 6, "module_src": "raise SystemExit('executed')"}
        yield lambda name, state: Calls(reconstruct, about | {"class_name": name, "state": state})


def _stand_in(patch: pytest.MonkeyPatch, place: str, name: str) -> Callable[..., Any]:
    """A function ``place.name`` that pickles can name."""
    module = sys.modules.get(place) or types.ModuleType(place)

    def function(*arguments: Any) -> None:
        raise AssertionError("must not be called")

    function.__module__, function.__qualname__ = place, name
    setattr(module, name, function)
    patch.setitem(sys.modules, place, module)
    return function
