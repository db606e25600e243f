"""Options and defaults of several commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from adasde.config.params import Params

Number = TypeVar("Number", int, float)

ParamsFile = Annotated[Path, typer.Option("--params", help="File with all numbers.", metavar="FILE")]
Nfe = Annotated[int, typer.Option("--nfe", min=1, help="Network evaluations per image.", metavar="N")]
Student = Annotated[
    str | None, typer.Option("--student", help="A name of students in params.yaml; needed if it has several.")
]
Checkpoint = Annotated[Path, typer.Option(help="Folder written by fetch.", metavar="FOLDER")]
Reference = Annotated[Path, typer.Option(help="Folder written by reference.", metavar="FOLDER")]
Out = Annotated[Path | None, typer.Option(help="Folder to write.", metavar="FOLDER")]

PARAMS = Path("params.yaml")
DATA = Path("data")
CHECKPOINT, REFERENCE = DATA / "checkpoint", DATA / "reference"


def params_of(path: Path) -> Params:
    """All of params.yaml (ParamsError where it cannot be used)."""
    from adasde.config.params import load_params

    return load_params(path)


def numbers(text: str, kind: Callable[[str], Number], option: str) -> tuple[Number, ...]:
    """The comma-separated numbers of ``option`` (BadParameter: not such a list)."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        example = "whole numbers such as 3,5,7,9" if kind is int else "numbers such as 0.005,0.01"
        raise typer.BadParameter(f"{text!r} is no list of {example}", param_hint=option) from error
