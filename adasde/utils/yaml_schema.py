"""YAML files with a pydantic schema: reading, base types, and messages that name file, key and remedy."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adasde.errors import ParamsError


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, and 1e-4 a number (as in YAML 1.2)."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            problem = f"the key {key.value!r} is given twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, *, source: str) -> Any:
    """The value of YAML text; ``source`` is its name in messages.

    Raises:
        ParamsError: invalid YAML, or a key given twice; the message has the line.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise ParamsError(f"{source}:{where} this is not valid YAML: {problem or error}.") from error


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ParamsError: missing, unreadable, invalid YAML, or not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        remedy = "Run this in the project folder, or name the file with --params."
        raise ParamsError(f"cannot read {path}: {error.strerror}. {remedy}") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: this is not valid YAML: {error}.") from error
    document = parse_yaml(text, source=str(path))
    if not isinstance(document, dict):
        raise ParamsError(f"{path} must be a mapping of keys to values, like the params.yaml of the project.")
    return document


def explain(error: ValidationError, model: type[BaseModel], *, source: str) -> str:
    """One paragraph that names, for each problem, the key, its value and what is allowed."""
    problems = "; ".join(_problem(item, model) for item in error.errors(include_url=False)).rstrip(".")
    return f"{source}: {problems}" + ("" if problems.endswith("?") else ".")


def _problem(item: Any, model: type[BaseModel]) -> str:
    """pydantic's own message, with the key in front and the nearest valid name behind."""
    loc = tuple(part for part in item["loc"] if part != "[key]")
    key, kind, value = ".".join(map(str, loc)), item["type"], item["input"]
    shown = f"{key} = {value!r:.60}" if value is None or isinstance(value, str | int | float) else key
    if kind == "extra_forbidden":
        return f"unknown key {key}{_nearest(str(loc[-1]), _keys(model, loc[:-1]))}"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":
        return f"{shown}: {item['ctx']['error']}".removeprefix(": ")
    if kind == "model_type":
        return f"{shown} cannot be used: it should be a section, with keys of {', '.join(_keys(model, loc))}"
    choices = re.findall("'(.*?)'", item["ctx"]["expected"]) if kind == "literal_error" else []
    rule = re.sub(r"^\w+ should", "it should", item["msg"])
    return f"{shown} cannot be used: {rule}{_nearest(str(value), choices) if choices else ''}"


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _keys(model: Any, loc: tuple[Any, ...]) -> list[str]:
    """Keys of the section at ``loc``; ``per_nfe.3`` has those of the section that it overrides."""
    at = loc.index("per_nfe") if "per_nfe" in loc else len(loc)
    for part in loc[:at] + loc[at + 2 :]:
        fields = getattr(model, "model_fields", None)
        model = fields[part].annotation if fields else get_args(model)[-1]
        if NoneType in get_args(model):
            model = get_args(model)[0]
    return list(getattr(model, "model_fields", ()))


PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**48)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


def option(default: Any, description: str, **bounds: Any) -> Any:
    """A key of a section with its default, its help and its range."""
    return Field(default, description=description, **bounds)


class Section(BaseModel):
    """A mapping of params.yaml: unknown keys and wrong types are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
