"""Networks that were pickled whole: their weights by dotted name, and how their parts were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from adasde.models.safe_pickle.stubs import Instance, refuse

DEEPEST = 32
LONGEST = 100
MOST = 200_000
"""Modules, weights and values of the descriptions of a network, all together."""

PARTS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def flattened(network: Instance) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """(weights, modules) of a pickled network, both by dotted name (see ``Opened``).

    Raises:
        CheckpointError: it is not built like a network.
    """
    tensors: dict[str, Tensor] = {}
    modules: dict[str, dict[str, Any]] = {}
    budget = Budget()
    waiting: list[tuple[str, Any, int]] = [("", network, 0)]
    while waiting:
        name, module, depth = waiting.pop()
        if not isinstance(module, Instance) or depth > DEEPEST:
            raise refuse(f"has a network that is not built like one, at {name[:LONGEST]!r}")
        prefix = f"{name}." if name else ""
        modules[name] = {"class_name": module.class_name, **_description(module.state, budget)}
        hidden = module.state.get("_non_persistent_buffers_set") or ()
        for part in ("_parameters", "_buffers"):
            for key, value in _part(module, part, budget).items():
                if isinstance(value, Tensor) and key not in hidden:
                    tensors[prefix + key] = value
        children = _part(module, "_modules", budget).items()
        waiting += [(prefix + key, child, depth + 1) for key, child in children if child is not None]
    return tensors, modules


class Budget:
    """How much of a description is read: one that refers to itself has no end."""

    def __init__(self) -> None:
        self.left = MOST

    def spend(self, values: int, *, depth: int = 0) -> None:
        """Count ``values`` (Refused: there were too many)."""
        self.left -= values
        if self.left < 0 or depth > DEEPEST:
            raise refuse("describes something that has no end")


def _part(module: Instance, part: str, budget: Budget) -> Mapping[str, Any]:
    values = module.state.get(part) or {}
    if not isinstance(values, dict) or not all(isinstance(key, str) and len(key) < LONGEST for key in values):
        raise refuse(f"has a network whose {part} are no mapping of names")
    budget.spend(len(values))
    return values


def _description(state: Mapping[Any, Any], budget: Budget) -> dict[str, Any]:
    attributes = {
        key: value
        for key, value in state.items()
        if key not in PARTS and isinstance(key, str) and not key.startswith("_")
    }
    return {
        "args": plain(state.get("_init_args") or (), budget),
        "kwargs": plain(state.get("_init_kwargs") or {}, budget),
        "attributes": plain(attributes, budget),
    }


def plain(value: Any, budget: Budget, *, depth: int = 0) -> Any:
    """``value`` as text, numbers, lists and mappings; anything else in it becomes None.

    Raises:
        CheckpointError: it is too deep or too large.
    """
    budget.spend(1, depth=depth)
    if isinstance(value, dict):
        named = {key: item for key, item in value.items() if isinstance(key, str)}
        return {key: plain(item, budget, depth=depth + 1) for key, item in named.items()}
    if isinstance(value, list | tuple):
        return [plain(item, budget, depth=depth + 1) for item in value]
    return value if isinstance(value, str | int | float) else None
