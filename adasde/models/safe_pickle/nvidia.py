"""Networks that NVIDIA pickles as objects: their weights by dotted name, and how their parts were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from adasde.models.safe_pickle.process import Instance, refused

PARTS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def flattened(network: Instance) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """(weights, modules) of a pickled network, both by dotted name (see ``Opened``).

    Raises:
        CheckpointError: it is not built like a network.
    """
    tensors: dict[str, Tensor] = {}
    modules: dict[str, dict[str, Any]] = {}
    for prefix, module in _modules("", network):
        modules[prefix.removesuffix(".")] = {"class_name": module.class_name, **_description(module.state)}
        hidden = frozenset(module.state.get("_non_persistent_buffers_set") or ())
        weights = {**_part(module, "_parameters"), **_part(module, "_buffers")}
        tensors |= {
            prefix + key: value
            for key, value in weights.items()
            if isinstance(value, Tensor) and key not in hidden
        }
    return tensors, modules


def _modules(prefix: str, module: Any) -> Iterator[tuple[str, Instance]]:
    """(dotted prefix, module) of all modules, the outermost first."""
    if not isinstance(module, Instance) or not isinstance(module.state, Mapping):
        raise refused(f"has a network that is not built like one, at {prefix[-100:]!r}")
    yield prefix, module
    for key, child in _part(module, "_modules").items():
        if child is not None:
            yield from _modules(f"{prefix}{key}.", child)


def _part(module: Instance, part: str) -> Mapping[str, Any]:
    values = module.state.get(part) or {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise refused(f"has a network whose {part} are no mapping of names")
    return values


def _description(state: Mapping[Any, Any]) -> dict[str, Any]:
    attributes = {key: value for key, value in state.items() if key not in PARTS and str(key)[:1] != "_"}
    return {
        "args": plain(state.get("_init_args") or ()),
        "kwargs": plain(state.get("_init_kwargs") or {}),
        "attributes": plain(attributes),
    }


def plain(value: Any) -> Any:
    """``value`` as text, numbers, lists and mappings by name; anything else in it becomes None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if isinstance(key, str)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float) else None
