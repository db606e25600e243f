"""The grid of a sweep: every combination of the settings that it tries, checked before anything runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import yaml

from adasde.config.params import check_params
from adasde.errors import ParamsError
from adasde.utils.yaml_schema import parse_yaml
from flows.tracking.run_names import short_names

if TYPE_CHECKING:
    from adasde.config.params import Params
    from flows.dvc.graph import Stage

PLAN = "plan"
"""The stage that writes the values of every student and budget."""

RECIPE = "recipe"
"""The setting that stands for ``students`` with one entry."""

LONGEST = 100
"""Characters of the folder of a trial."""

EXAMPLE = "for instance --set distill.lr=0.05,0.1 --set nfe=5"

Settings = Mapping[str, Sequence[Any]]
"""Dotted key of params.yaml -> the values to try."""


@dataclass(frozen=True)
class Trial:
    """One combination.

    Attributes:
        name: its settings in short, ``lr=0.05 nfe=5``.
        settings: dotted key -> value.
        values: the complete mapping of its params.yaml.
        params: the same, checked.
    """

    name: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    params: Params

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        plain = self.name.replace(" ", "_")
        safe = re.sub(r"[^A-Za-z0-9_.=+-]+", "_", plain)
        if safe == plain and len(safe) <= LONGEST:
            return safe
        return f"{safe[: LONGEST - 9]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    def varied(self, nfe: int) -> str:
        """The settings and the budget: the name, with the budget where that is not among them."""
        return self.name if "nfe" in self.settings and len(self.params.nfe) == 1 else f"{self.name} nfe={nfe}"


def parse_settings(words: Iterable[str]) -> dict[str, list[Any]]:
    """What ``--set KEY=VALUE,VALUE`` asks for; values are YAML, with lists in brackets.

    Raises:
        ParamsError: no such form, not YAML, no value, or a key given twice.
    """
    settings: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = (part.strip() for part in word.partition("="))
        if not key or not equals:
            raise ParamsError(f"--set {word}: it must be KEY=VALUE or KEY=VALUE,VALUE, {EXAMPLE}.")
        if key in settings:
            raise ParamsError(f"--set names {key} twice: give all its values at once, {EXAMPLE}.")
        settings[key] = parse_yaml(f"[{text}]", source=f"--set {word}")
    return settings


def make_trials(base: Mapping[str, Any], settings: Settings) -> list[Trial]:
    """Every combination of ``settings`` on top of ``base``, the mapping of params.yaml, in order.

    Raises:
        ParamsError: a key or a value cannot be used (names the trial), a value is there twice, or there is
            nothing to try.
    """
    _check(settings)
    short = short_names(settings)
    return [
        _trial(base, dict(zip(settings, values, strict=True)), short)
        for values in product(*settings.values())
    ]


def _check(settings: Settings) -> None:
    """Refuse what is no grid, whatever the params are."""
    if not settings:
        raise ParamsError(f"a sweep needs at least one setting to try, {EXAMPLE}.")
    for key, values in settings.items():
        if not values:
            raise ParamsError(f"the sweep has no value for {key}: give one or more, {EXAMPLE}.")
        twice = [value for i, value in enumerate(values) if value in values[:i]]
        if twice:
            raise ParamsError(f"the sweep has {key} = {shown(twice[0])} twice: leave one of them out.")
        inside = [other for other in settings if other.startswith(f"{key}.")]
        if inside:
            raise ParamsError(
                f"the sweep sets {key} and {inside[0]}, which is a part of it: set one of them."
            )
    if "model" in settings:
        raise ParamsError(
            "a sweep is about one model, because scores of different models do not compare: "
            "set `model` in params.yaml and start one sweep for each."
        )


def _trial(base: Mapping[str, Any], settings: Mapping[str, Any], short: Mapping[str, str]) -> Trial:
    name = " ".join(f"{short[key]}={shown(value)}" for key, value in settings.items())
    values = deepcopy(dict(base))
    for key, value in settings.items():
        alone = key == RECIPE or (key == "nfe" and isinstance(value, int))
        _put(values, key_of(key), [value] if alone else value, trial=name)
    return Trial(name, settings, values, check_params(values, source=f"trial {name}"))


def key_of(setting: str) -> str:
    """The key of params.yaml that a setting is written to: a recipe is the one student of its trial."""
    return "students" if setting == RECIPE else setting


def _put(values: dict[str, Any], dotted: str, value: Any, *, trial: str) -> None:
    """Set ``a.b.c`` in nested mappings, which are made where they are missing."""
    *outer, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
    inner: Any = values
    for part in outer:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ParamsError(
                f"trial {trial}: {dotted} cannot be set, because {part} is no section of params.yaml "
                f"but {shown(inner)}."
            )
    inner[last] = deepcopy(value)


def shown(value: Any) -> str:
    """A value as it is written in YAML, in one line and without spaces."""
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip().replace(", ", ",").replace(": ", ":")


def touched(stages: Mapping[str, Stage], keys: Iterable[str], planned: Collection[str] = ()) -> set[str]:
    """Names of the stages that depend on one of ``keys``, or on such a stage; in ``read_stages``'s order.

    The stage ``plan`` reads many keys, but of its outputs only those of the stages ``planned`` change.
    """
    names, wanted = set[str](), list(keys)
    for stage in stages.values():
        if stage.name == PLAN:
            continue
        reads = any(_overlap(key, param) for key in wanted for param in stage.params)
        if reads or stage.name in planned or not names.isdisjoint(stage.needs):
            names.add(stage.name)
    return names


def require_effect(stages: Mapping[str, Stage], keys: Iterable[str]) -> None:
    """Refuse keys that no stage depends on (ParamsError): their trials would all be the same."""
    params = {param for stage in stages.values() for param in stage.params}
    for key in keys:
        if key not in ("nfe", RECIPE) and not any(_overlap(key, param) for param in params):
            raise ParamsError(
                f"no stage of dvc.yaml depends on {key}, so all trials would be the same. "
                f"A sweep can set {', '.join(sorted(params))}, and the keys below them."
            )


def _overlap(one: str, other: str) -> bool:
    """Whether dotted keys are the same or one is a section with the other in it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
