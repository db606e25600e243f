"""``adasde models``, ``adasde train-digits`` and ``adasde train-glyphs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from adasde.utils.console import Json, tell

Folder = Annotated[Path, typer.Option(help="Checkpoint folder to write.", metavar="FOLDER")]
Seed = Annotated[int, typer.Option(min=0, help="The shipped weights have seed 0.")]
Iterations = Annotated[int | None, typer.Option(min=1, help="Fewer, for a quick look.")]


def train_digits(
    out: Folder = Path("digits"), seed: Seed = 0, iterations: Iterations = None, as_json: Json = False
) -> None:
    """Train the digits model and its feature extractor from scratch (one thread, deterministic)."""
    from adasde.stages import train

    tell("train-digits", train.train("digits", out, seed=seed, iterations=iterations), as_json)


def train_glyphs(
    out: Folder = Path("glyphs"), seed: Seed = 0, iterations: Iterations = None, as_json: Json = False
) -> None:
    """Train the glyphs model and its feature extractor from scratch (one thread, deterministic, an hour)."""
    from adasde.stages import train

    tell("train-glyphs", train.train("glyphs", out, seed=seed, iterations=iterations), as_json)


models = typer.Typer(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Bundled models, and those that can be fetched.",
    epilog="Example: adasde models --json",
)


@models.callback()
def listing(context: typer.Context, as_json: Json = False) -> None:
    """All models by name; 'adasde models show NAME' describes one."""
    if context.invoked_subcommand is not None:
        return
    from adasde.models.describe import described, lines

    if as_json:
        print(json.dumps({"stage": "models", "models": described()}))
        return
    print("\n".join(lines(described())))


@models.command(epilog="Example: adasde models show cifar10")
def show(
    name: Annotated[str, typer.Argument(help="As 'adasde models' lists it.", metavar="NAME")],
    batch: Annotated[int, typer.Option(min=1, help="Samples of the memory estimate.")] = 64,
    as_json: Json = False,
) -> None:
    """One model: its files, terms, settings of the paper, and the memory that it takes."""
    from adasde.models.describe import description, paragraphs

    facts = description(name, batch=batch)
    print(json.dumps({"stage": "models show", **facts}) if as_json else paragraphs(facts))
