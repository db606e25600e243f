"""What stands in for the objects of a foreign pickle, and how a pickle is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adasde.errors import CheckpointError


class Refused(CheckpointError):
    """What the file asks for and does not get."""


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that the file names; ``stand_in`` is called in its place, None: nothing is."""

    name: str
    stand_in: Callable[..., Any] | None

    def __str__(self) -> str:
        return self.name


class Inert:
    """An object of a class that is not known here: nothing is kept of it."""

    def __init__(self, name: str) -> None:
        self.name = name


class Instance:
    """An object of a class that is known as data: its name and its state."""

    def __init__(self, class_name: str, state: Mapping[Any, Any]) -> None:
        self.class_name = class_name
        self.state = state


def refuse_name(name: str) -> Refused:
    """The error for a name that is not on the list."""
    return Refused(
        f"the pickle asks for {name}, which is not on the list of harmless names. It was refused and nothing "
        "was executed. Do not open this file with another program either, unless you trust where it comes "
        "from."
    )


def refuse(what: str) -> Refused:
    """The error for something that no checkpoint does; ``what`` completes "the pickle"."""
    return Refused(
        f"the pickle {what}, which no checkpoint does. It was refused and nothing was executed. Do not open "
        "this file with another program either, unless you trust where it comes from."
    )


class Buildable:
    """What is made in two steps: a call, then its state; ``places`` of the memo hold it."""

    def __init__(self) -> None:
        self.places: list[int] = []

    def built(self, state: Any) -> Any:
        """What takes its place."""
        raise NotImplementedError


def called(value: Any) -> str:
    """The class of a value, in words."""
    if isinstance(value, Name | Inert):
        return value.name
    return value.class_name if isinstance(value, Instance) else f"the class {type(value).__name__}"
