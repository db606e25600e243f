"""Options and defaults of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adasde.config.params import Params

ParamsFile = Annotated[Path, typer.Option("--params", help="File with all numbers.", metavar="FILE")]
Nfe = Annotated[int, typer.Option("--nfe", min=1, help="Network evaluations per image.", metavar="N")]
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
