"""What are coefficients worth that were interpolated instead of distilled? FID beside the distilled table's.

    adasde run && python benchmarks/interpolation.py      # in a project folder with params.yaml and data/

Every budget of params.yaml is proposed from the distilled budgets beside it (``Coefficients.interpolate``),
the lowest and the highest from the nearest, and measured by the pipeline's stages on the seeds of ``sample``,
which no training saw. Results: benchmarks/results/interpolation.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

import adasde
from adasde.config.params import Params, load_params
from adasde.stages.evaluate import evaluate
from adasde.stages.sample import sample

HERE = Path(__file__).parent


def measured(params: Params, nfe: int, table: adasde.Coefficients, *, data: Path) -> dict[str, float]:
    """FID of ``table`` alone: its mean over the ranges, and their spread."""
    alone = params.model_copy(update={"baselines": {}, "students": [student_of(params)]})
    with tempfile.TemporaryDirectory() as scratch:
        file, samples, out = (Path(scratch) / name for name in ("table.json", "samples", "metrics.json"))
        table.save(file)
        drawn = samples / student_of(params)
        sample(alone, nfe, checkpoint=data / "checkpoint", coefficients=file, out=drawn)
        places: dict[str, Any] = {"samples": samples, "reference": data / "reference", "out": out}
        evaluate(alone, nfe, checkpoint=data / "checkpoint", **places)
        (row,) = json.loads(out.read_text())["rows"].values()
        return _fid(row)


def student_of(params: Params) -> str:
    """The student that is interpolated: the last one of params.yaml."""
    return params.students[-1]


def _fid(row: dict[str, Any]) -> dict[str, float]:
    return {key: round(row["fid"][key], 3) for key in ("mean", "spread")}


def beside(budgets: list[int], nfe: int) -> list[int]:
    """The distilled budgets that a proposal for ``nfe`` is made from: one on each side, or the nearest."""
    below, above = [one for one in budgets if one < nfe], [one for one in budgets if one > nfe]
    return [*below[-1:], *above[:1]]


def row(params: Params, nfe: int, *, data: Path) -> dict[str, Any]:
    """The proposals for ``nfe``, the distilled table and the best classical solver."""
    student = student_of(params)
    tables = {
        n: adasde.Coefficients.load(data / f"distill/nfe{n}/{student}/coefficients.json") for n in params.nfe
    }
    document = json.loads((data / f"metrics/nfe{nfe}.json").read_text())
    rows, students = document["rows"], document["students"]
    (label,) = (name for name in students if students[name]["name"] == student)
    others = (name for name in rows if name not in students)
    classical = min(others, key=lambda name: rows[name]["fid"]["mean"])
    near = beside(sorted(params.nfe), nfe)
    first, *rest = (tables[n] for n in near)
    ways = {" and ".join(map(str, near)): first.interpolate(nfe, *rest)}
    if rest:
        ways |= {str(n): tables[n].interpolate(nfe) for n in near}
    return {
        "proposed from": {way: measured(params, nfe, table, data=data) for way, table in ways.items()},
        "distilled": _fid(rows[label]),
        "best classical": {"solver": classical, **_fid(rows[classical])},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", default="params.yaml", type=Path)
    parser.add_argument("--data", default="data", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "interpolation.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(options.params)
    found = {str(nfe): row(params, nfe, data=options.data) for nfe in sorted(params.nfe)}
    seeds = params.sample
    head = {"model": params.model, "images": seeds.images, "ranges": seeds.ranges, "seed": seeds.first_seed}
    options.out.write_text(json.dumps(head | {"fid": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
