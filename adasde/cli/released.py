"""``adasde import-released``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adasde.utils.console import Json


def import_released(
    paths: Annotated[list[Path], typer.Argument(help="Predictors (.pkl), or folders to look for them in.")],
    out: Annotated[Path, typer.Option(help="Folder for the coefficient files.")] = Path("released"),
    as_json: Json = False,
) -> None:
    """Convert the authors' predictors (AdaSDE's or EPD's) into our JSON, without running their code."""
    import json

    from adasde.errors import CheckpointError
    from adasde.integrations.released import load_predictor

    files = [file for path in paths for file in (sorted(path.rglob("*.pkl")) if path.is_dir() else [path])]
    if not files:
        raise CheckpointError(
            f"there is no .pkl file in {', '.join(map(str, paths))}. Name the files themselves."
        )
    tables = [load_predictor(file) for file in files]  # all of them before one is written
    found = []
    for number, (file, table) in enumerate(zip(files, tables, strict=True)):
        made = table.provenance
        target = out / f"{number:02d}-{made['dataset']}-nfe{table.nfe}.json"
        table.save(target)
        about = {"afs": table.afs, "steps": table.steps, "points": table.points}
        gamma = float(table.gamma.max())
        found.append(
            {"from": str(file), "out": str(target), "nfe": table.nfe, **made, **about, "gamma": gamma}
        )
    if as_json:
        print(json.dumps({"stage": "import-released", "predictors": found}))
        return
    for one in found:
        noise = f"gamma up to {one['gamma']:.4g}" if one["gamma"] else "no noise"
        print(
            f"{one['from']}: {one['released']} for {one['dataset']}, {one['nfe']} evaluations in "
            f"{one['steps']} steps of {one['points']} point(s){', AFS' * one['afs']}, {noise} -> {one['out']}"
        )
