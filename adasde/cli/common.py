"""What the command line's modules share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from adasde.config.params import Params

Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on stdout.")]
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


def tell(stage: str, summary: dict[str, Any], as_json: bool) -> None:
    """One line for people, or the summary as JSON."""
    if as_json:
        print(json.dumps({"stage": stage, **summary}))
        return
    rest = ", ".join(f"{key} {value}" for key, value in summary.items() if key != "out")
    print(f"{stage}: {summary['out']} ({rest})")
