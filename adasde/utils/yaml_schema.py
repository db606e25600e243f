"""Base types of YAML schemas, reading YAML, and plain words for what is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adasde.errors import ParamsError

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
BOUNDS = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}


class _Loader(yaml.SafeLoader):
    """YAML with two repairs: a key given twice is an error, and 1e-4 is a number (as in YAML 1.2)."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, *, source: str) -> Any:
    """The value that YAML text has; ``source`` is what the message calls it.

    Raises:
        ParamsError: it is not YAML (says the line), or has a key twice.
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
        ParamsError: missing or unreadable, not YAML (says the line), or not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(
            f"cannot read {path}: {error.strerror}. Run this in the project folder, or name the file "
            "with --params."
        ) from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: this is not valid YAML: {error}.") from error
    document = parse_yaml(text, source=str(path))
    if not isinstance(document, dict):
        raise ParamsError(f"{path} must be a mapping of keys to values, like the params.yaml of the project.")
    return document


def explain(error: ValidationError, model: type[BaseModel], *, source: str) -> str:
    """One paragraph that names, for each problem, the key, its value and what is allowed."""
    problems = [_problem(item, model) for item in error.errors(include_url=False)]
    return f"{source}: " + "; ".join(problems).rstrip(".?") + ("?" if problems[-1].endswith("?") else ".")


def _problem(item: Any, model: type[BaseModel]) -> str:
    loc: tuple[Any, ...] = item["loc"]
    key = ".".join(str(part) for part in loc if part != "[key]")
    if item["type"] == "extra_forbidden":
        return f"unknown key {key}{_nearest(str(loc[-1]), _keys_beside(model, loc))}"
    if item["type"] == "missing":
        return f"{key} is missing; it must be {_rule(model, loc)}"
    if item["type"] == "value_error":
        said = str(item["ctx"]["error"])
        return (
            f"{key} = {_shown(item['input'])}: {said}"
            if _is_scalar(item["input"])
            else f"{key}: {said}".lstrip(": ")
        )
    near = _nearest(str(item["input"]), _choices(_annotation(model, loc)))
    return f"{key} = {_shown(item['input'])} cannot be used: it must be {_rule(model, loc)}{near}"


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _shown(value: Any) -> str:
    text = repr(value) if _is_scalar(value) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _keys_beside(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    parent = _annotation(model, _without_overrides(loc)[:-1])
    return list(parent.model_fields) if _is_model(parent) else []


def _choices(annotation: Any) -> list[str]:
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []


def _rule(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    return _in_words(*_locate(model, loc))


def _annotation(model: type[BaseModel], loc: tuple[Any, ...]) -> Any:
    return _locate(model, loc)[0]


def _in_words(annotation: Any, metadata: list[Any]) -> str:
    origin = get_origin(annotation)
    if choices := _choices(annotation):
        return f"one of {', '.join(choices)}"
    if _is_model(annotation):
        return f"a section with keys of {', '.join(annotation.model_fields)}"
    if origin in (Union, UnionType):
        return " or ".join(_in_words(*_unwrap(choice)) for choice in get_args(annotation))
    if origin is list:
        return f"a list, each entry {_in_words(*_unwrap(get_args(annotation)[0]))}"
    if origin is dict:
        return "a mapping"
    bounds = [
        f"{words} {getattr(item, name):g}"
        for item in metadata
        for name, words in BOUNDS.items()
        if hasattr(item, name)
    ]
    return " ".join([KINDS.get(annotation, "a value"), " and ".join(bounds)]).strip()


def _locate(model: type[BaseModel], loc: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """(annotation, constraints) of what pydantic's location ``loc`` points at; (None, []) if unknown."""
    if loc and loc[-1] == "[key]":
        mapping, _ = _locate(model, loc[:-2])
        return _unwrap(get_args(mapping)[0])
    annotation: Any = model
    metadata: list[Any] = []
    parts = _without_overrides(loc)
    for part in parts:
        if _is_model(annotation):
            field = annotation.model_fields.get(part)
            annotation, metadata = (field.annotation, field.metadata) if field else (None, [])
        elif get_origin(annotation) in (dict, list):
            annotation, metadata = _unwrap(get_args(annotation)[-1])
        else:
            return None, []
    return annotation, metadata


def _without_overrides(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """An override has the rule of the key that it overrides: ``per_nfe.3.rate`` -> ``rate``."""
    if "per_nfe" in loc and loc.index("per_nfe") + 2 < len(loc):
        at = loc.index("per_nfe")
        return loc[:at] + loc[at + 2 :]
    return loc


def _unwrap(annotation: Any) -> tuple[Any, list[Any]]:
    """Split ``Annotated[int, Field(ge=1)]`` into (int, [Ge(1)])."""
    bare, *extras = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    return bare, [item for extra in extras for item in getattr(extra, "metadata", [extra])]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


PositiveInt = Annotated[int, Field(ge=1)]


Seed = Annotated[int, Field(ge=0, lt=2**48)]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A mapping of params.yaml: unknown keys and wrong types are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PerNfe(Section):
    """A section whose values may differ between numbers of evaluations."""

    per_nfe: dict[PositiveInt, dict[str, Any]] = {}

    def for_nfe(self, nfe: int) -> Self:
        """The section with the overrides for ``nfe`` applied and none left."""
        values = self.model_dump(exclude={"per_nfe"}) | self.per_nfe.get(nfe, {})
        return type(self).model_validate(values)

    @model_validator(mode="after")
    def _check_overrides(self) -> Self:
        for nfe in self.per_nfe:
            try:
                self.for_nfe(nfe)
            except ValidationError as error:
                details: Any = [
                    {**item, "loc": ("per_nfe", nfe, *item["loc"])}
                    for item in error.errors(include_url=False)
                ]
                raise ValidationError.from_exception_data("per_nfe", details) from error
        return self
