"""Run names for people: model, budget, solver, changed settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adasde.config.params import DistillParams

MOST = 3
"""Settings that a name shows."""


def solver_label(distill: DistillParams) -> str:
    """The student in a word: its solver, more than one evaluation a step, and whether the grid is learned."""
    points = f" K={distill.points}" if distill.points > 1 else ""
    return f"{distill.solver}{points}{'+grid' if distill.learn_grid else ''}"


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of every dotted key, or the full key where two end alike."""
    keys = list(keys)
    lasts = [key.rpartition(".")[2] for key in keys]
    return {key: last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)}


def differences(params: Mapping[str, str], before: Mapping[str, str]) -> str:
    """The settings that are new since an earlier run: ``lr=0.1 batch=64``; empty if none is."""
    new = {key: value for key, value in params.items() if key in before and before[key] != value}
    short = short_names(new)
    words = [f"{short[key]}={value}" for key, value in new.items()]
    more = [f"+{len(words) - MOST} more"] if len(words) > MOST else []
    return " ".join([*words[:MOST], *more])
