"""The command line: one command a stage. Everything heavy is imported inside the commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from adasde.cli.analyse import analyse
from adasde.cli.bench import bench
from adasde.cli.common import (
    CHECKPOINT,
    DATA,
    PARAMS,
    REFERENCE,
    Checkpoint,
    Nfe,
    Out,
    ParamsFile,
    Reference,
    params_of,
)
from adasde.cli.learn import distill, teacher
from adasde.cli.models import models, train_digits, train_glyphs
from adasde.cli.released import import_released
from adasde.cli.sample import sample
from adasde.cli.start import estimate, init
from adasde.cli.storage import store
from adasde.errors import AdaSDEError
from adasde.utils.console import Json, tell
from adasde.utils.version import VERSION

DEBUG = "ADASDE_DEBUG"
GROUP = "adasde.commands"


class Commands(TyperGroup):
    """Turns the failures a user can meet into one paragraph on stderr and an exit code.

    0: done; 1: explained failure; 2: wrong usage; 130: interrupted. ADASDE_DEBUG=1 shows tracebacks.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _leave("interrupted. Nothing was left half-written; the same command carries on.", 130)
        except AdaSDEError as error:
            _leave(str(error), 1)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("adasde"):
                raise
            _leave(f"{error.name} is not installed. Install it with: pip install 'adasde[pipeline]'.", 1)
        except OSError as error:
            _leave(f"{error.filename or 'a file'}: {error.strerror or error}.", 1)


def _leave(message: str, code: int) -> NoReturn:
    if os.environ.get(DEBUG) == "1" and code == 1:
        import traceback

        traceback.print_exc()
    typer.secho(f"error: {message}", fg="red", err=True)
    raise typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sample a frozen diffusion model in 3 to 10 network evaluations, with distilled coefficients.",
    epilog="All numbers come from params.yaml. Example: adasde fetch && adasde teacher --nfe 5",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"adasde {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command(epilog="Example: adasde fetch --out data/checkpoint")
def fetch(
    out: Out = None,
    params: ParamsFile = PARAMS,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the model's checkpoint, verified, into a folder; that of a model card is fetched."""
    if offline:
        os.environ["ADASDE_OFFLINE"] = "1"
    values = params_of(params)
    from adasde.stages.fetch import fetch as run

    tell("fetch", run(values, out=out or CHECKPOINT), as_json)


@app.command(epilog="Example: adasde reference --data images.zip --model my-model --out mine.npz")
def reference(
    checkpoint: Checkpoint = CHECKPOINT,
    out: Out = None,
    metrics: Annotated[
        Path | None, typer.Option(help="File for the model's own FID.", metavar="FILE")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Only the statistics (--out FILE.npz) of these images.", metavar="FOLDER|ZIP"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With --data: a model's name or folder, if not --checkpoint.")
    ] = None,
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """Real images, their statistics, and what the model reaches with many steps (the stage).

    With --data: the statistics of your own images alone, for evaluate.reference of params.yaml.
    """
    if data is None and model is not None:
        raise typer.BadParameter("goes with --data; the stage takes --checkpoint", param_hint="--model")
    if data is not None:
        if out is None or out.suffix != ".npz" or metrics is not None:
            raise typer.BadParameter("goes with --out FILE.npz, and without --metrics", param_hint="--data")
        from adasde.evaluation.statistics import reference_of

        tell("reference", reference_of(data, model or checkpoint, out=out), as_json)
        return
    values = params_of(params)
    from adasde.stages.reference import reference as run

    target = metrics or DATA / "metrics/floor.json"
    tell(
        "reference",
        run(values, checkpoint, out=out or DATA / "reference", metrics=target),
        as_json,
    )


app.command(epilog="Example: adasde teacher --nfe 5 --workers 2")(teacher)
app.command(epilog="Example: adasde distill --nfe 5 --teacher data/teacher/nfe5 --out data/distill/nfe5")(
    distill
)
app.command(
    epilog="Example: adasde sample --coefficients nfe5.json --seeds 0-49999 --out images.zip --grid grid.png"
)(sample)


@app.command(
    epilog="Example: adasde evaluate --nfe 5 --samples data/samples/nfe5 --out data/metrics/nfe5.json"
)
def evaluate(
    nfe: Nfe,
    checkpoint: Checkpoint = CHECKPOINT,
    samples: Annotated[Path | None, typer.Option(help="Folder written by sample.", metavar="FOLDER")] = None,
    reference: Reference = REFERENCE,
    out: Annotated[Path | None, typer.Option(help="File to write.", metavar="FILE")] = None,
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """FID, KID, precision and recall of every row of samples."""
    values = params_of(params)
    from adasde.stages.evaluate import evaluate as run

    summary = run(
        values,
        nfe,
        checkpoint=checkpoint,
        samples=samples or DATA / f"samples/nfe{nfe}",
        reference=reference,
        out=out or DATA / f"metrics/nfe{nfe}.json",
    )
    tell("evaluate", summary, as_json)


@app.command(epilog="Example: adasde report --data data --out report")
def report(
    data: Annotated[
        Path, typer.Option(help="Folder with the outputs of all stages.", metavar="FOLDER")
    ] = DATA,
    out: Annotated[Path, typer.Option(help="Folder to write.", metavar="FOLDER")] = Path("report"),
    params: ParamsFile = PARAMS,
    as_json: Json = False,
) -> None:
    """The table, the pictures, and a page with both."""
    values = params_of(params)
    from adasde.report import Results, results_table
    from adasde.stages.report import report as run

    summary = run(values, data, out=out)
    if not as_json:
        from rich.console import Console

        Console().print(results_table(Results.from_json(json.loads((out / "results.json").read_text()))))
    tell("report", summary, as_json)


app.command(epilog="Example: adasde train-digits --out digits")(train_digits)
app.command(epilog="Example: adasde import-released exps/ --out released")(import_released)
app.command(epilog="Example: adasde train-glyphs --out glyphs")(train_glyphs)
app.command(
    epilog="Example: adasde bench --model digits --nfe 3,5 --solver heun,ipndm:order=2 --learned none"
)(bench)
app.command(epilog="Example: adasde analyse --quick --out report/analysis")(analyse)


app.command(epilog="Example: adasde init --model cifar10 --nfe 3,5")(init)
app.command(epilog="Example: adasde estimate --json")(estimate)


app.add_typer(store, name="store")
app.add_typer(models, name="models")


def _load_commands() -> None:
    """Add the commands of other packages: entry points that are functions of the app."""
    for point in entry_points(group=GROUP):
        try:
            point.load()(app)
        except ImportError as error:
            typer.secho(
                f"warning: the commands of {point.value} are not there: {error}", fg="yellow", err=True
            )


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)  # so that temporary files are removed on the way out


_load_commands()


def main() -> None:
    """Entry point of the ``adasde`` program."""
    signal.signal(signal.SIGTERM, _terminate)
    app()
