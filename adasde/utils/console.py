"""Output of every command: a line for people, or JSON for programs."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on stdout.")]


def tell(stage: str, summary: dict[str, Any], as_json: bool) -> None:
    """Print the summary in one line, or as JSON."""
    if as_json:
        print(json.dumps({"stage": stage, **summary}))
        return
    rest = ", ".join(f"{key} {value}" for key, value in summary.items() if key != "out")
    print(f"{stage}: {summary['out']} ({rest})")
