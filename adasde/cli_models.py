"""``adasde train-digits`` and ``adasde train-glyphs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adasde.cli_common import Json, tell

Folder = Annotated[Path, typer.Option(help="Checkpoint folder to write.", metavar="FOLDER")]
Seed = Annotated[int, typer.Option(min=0, help="The shipped weights have seed 0.")]
Iterations = Annotated[int | None, typer.Option(min=1, help="Fewer, for a quick look.")]


def train_digits(
    out: Folder = Path("digits"), seed: Seed = 0, iterations: Iterations = None, as_json: Json = False
) -> None:
    """Train the digits model and its feature extractor from scratch (one thread, deterministic)."""
    from adasde import stages

    tell("train-digits", stages.train_digits(out, seed=seed, iterations=iterations), as_json)


def train_glyphs(
    out: Folder = Path("glyphs"), seed: Seed = 0, iterations: Iterations = None, as_json: Json = False
) -> None:
    """Train the glyphs model and its feature extractor from scratch (one thread, deterministic, an hour)."""
    from adasde import stages

    tell("train-glyphs", stages.train_glyphs(out, seed=seed, iterations=iterations), as_json)
