"""The command line. Everything heavy is imported inside the commands."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from adasde.cli.analyse import analyse, bounds
from adasde.cli.bench import bench
from adasde.cli.models import models, train_digits, train_glyphs
from adasde.cli.released import import_released
from adasde.cli.sample import sample
from adasde.cli.stages import distill, evaluate, fetch, plan, reference, report, teacher
from adasde.cli.start import estimate, init
from adasde.cli.storage import store
from adasde.errors import AdaSDEError
from adasde.utils.version import VERSION

DEBUG = "ADASDE_DEBUG"
GROUP = "adasde.commands"


class Commands(TyperGroup):
    """Explains failures in one paragraph on stderr, with an exit code.

    0: done; 1: explained failure; 2: wrong usage; 130: interrupted. ADASDE_DEBUG=1 shows tracebacks.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _leave("interrupted. Nothing was left half-written; the same command resumes.", 130)
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
    epilog="All numbers come from params.yaml. Example: adasde fetch && adasde plan",
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


COMMANDS: dict[Callable[..., None], str] = {
    fetch: "fetch --out data/checkpoint",
    reference: "reference --data images.zip --model my-model --out mine.npz",
    teacher: "teacher --student paper --nfe 5 --workers 2",
    plan: "plan --out data/plan",
    distill: "distill --student paper --nfe 5",
    sample: "sample --coefficients nfe5.json --seeds 0-49999 --out images.zip --grid grid.png",
    evaluate: "evaluate --nfe 5 --samples data/samples/nfe5 --out data/metrics/nfe5.json",
    report: "report --data data --out report",
    train_digits: "train-digits --out digits",
    import_released: "import-released exps/ --out released",
    train_glyphs: "train-glyphs --out glyphs",
    bench: "bench --model digits --nfe 3,5 --solver heun,ipndm:order=2 --learned none",
    analyse: "analyse --quick --out report/analysis",
    bounds: "bounds --nfe 3,5 --out report/bounds",
    init: "init --model cifar10 --nfe 3,5",
    estimate: "estimate --json",
}
"""Functions that are commands, in the order of the help, with an example of each."""

for command, example in COMMANDS.items():
    app.command(epilog=f"Example: adasde {example}")(command)
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
