"""``adasde import-released``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adasde.utils.console import Json

if TYPE_CHECKING:
    from adasde.sampling.coefficients import Coefficients

Range = Annotated[float | None, typer.Option(help="End of the model's range of noise levels.", min=0)]


def import_released(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders to look for .pkl in.")],
    out: Annotated[Path, typer.Option(help="Folder for the coefficient files.")] = Path("released"),
    model: Annotated[
        str | None, typer.Option(help="Model that has the range: a card's name or a checkpoint folder.")
    ] = None,
    sigma_min: Range = None,
    sigma_max: Range = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale that they were trained for.")] = None,
    solver: Annotated[
        str, typer.Option(help="Solver of LD3's learned times, with its options, as ipndm:order=3.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Convert files of AdaSDE, EPD, DyWeight or LD3 into our JSON, without running their authors' code.

    The range of noise levels and the guidance come from the file and the card of its data set; --model,
    --sigma-min, --sigma-max and --guidance replace them. The published files carry no licence: use the
    results, but do not redistribute them.
    """
    import json

    from adasde.errors import CheckpointError
    from adasde.experiments.bench.samplers import options_of
    from adasde.integrations.released import load_predictor

    files = [file for path in paths for file in (sorted(path.rglob("*.pkl")) if path.is_dir() else [path])]
    if not files:
        raise CheckpointError(
            f"there is no .pkl file in {', '.join(map(str, paths))}. Name the files themselves."
        )
    name, *pairs = solver.split(":")
    given: dict[str, Any] = {"sigma_min": sigma_min, "sigma_max": sigma_max, "guidance": guidance}
    given |= {"solver": name, "options": options_of(pairs, solver)}
    tables = [load_predictor(file, model=model, **given) for file in files]  # all before one is written
    found = []
    for number, (file, table) in enumerate(zip(files, tables, strict=True)):
        target = out / f"{number:02d}-{_plain(table.provenance['dataset'])}-nfe{table.nfe}.json"
        table.save(target)
        found.append({"from": str(file), "out": str(target), **_about(table)})
    if as_json:
        print(json.dumps({"stage": "import-released", "predictors": found}))
        return
    print(*map(_line, found), sep="\n")


def _plain(dataset: str) -> str:
    """A data set's name as part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in dataset)[:60]


def _about(table: Coefficients) -> dict[str, Any]:
    """What is printed of a table."""
    size = {"afs": table.afs, "steps": table.steps, "points": table.points, "solver": table.solver}
    ends = {"sigma_max": float(table.sigmas[0]), "sigma_min": float(table.sigmas[-1])}
    noise = {"gamma": float(table.gamma.max()), "guidance": table.model.get("guidance")}
    return {"nfe": table.nfe, **table.provenance, "model": table.model.get("name"), **size, **ends, **noise}


def _line(one: dict[str, Any]) -> str:
    """A table in one line."""
    noise = f"gamma up to {one['gamma']:.4g}" if one["gamma"] else "no noise"
    form = f"{one['points']} point(s)" if one["points"] else "one evaluation"
    guided = f", guidance {one['guidance']:g}" if one["guidance"] else ""
    return (
        f"{one['from']}: {one['released']} for {one['dataset']}, {one['nfe']} evaluations in "
        f"{one['steps']} steps of {form}{', AFS' * one['afs']}, {noise}, sigma {one['sigma_max']:.5g} to "
        f"{one['sigma_min']:.5g}{guided} -> {one['out']}"
    )
