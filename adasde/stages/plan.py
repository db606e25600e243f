"""The stage ``plan``: the values of every student and budget, each in a file that its stages depend on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from adasde.config.params import Budget, Params
from adasde.types import Summary
from adasde.utils.atomic_io import write_json

OF_TEACHER = ("solver", "points", "learn_grid")
"""Values of ``distill`` that decide which states the teacher keeps."""


def plan(params: Params, *, out: Path) -> Summary:
    """Write ``out``/nfe<N>/<student>.json and <student>.teacher.json; equal values give equal bytes.

    Raises:
        DataError: ``out`` cannot be written.
    """
    files = {
        f"nfe{nfe}/{student}{kind}.json": values
        for nfe in params.nfe
        for student in params.students
        for kind, values in values_of(params.at(nfe, student)).items()
    }
    for name, values in files.items():
        write_json(out / name, values)
    for path in sorted(out.rglob("*"), reverse=True):
        if path.relative_to(out).as_posix() not in files and (path.is_file() or not any(path.iterdir())):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    return {"out": str(out), "students": list(params.students), "nfe": list(params.nfe)}


def values_of(budget: Budget) -> dict[str, dict[str, Any]]:
    """Kind of file -> the values that its stage depends on."""
    params = budget.params
    values = params.model_dump(mode="json", include={"seed", "guidance", "network", "afs"})
    sections = params.model_dump(mode="json", include={"schedule", "teacher", "distill"})
    for section in sections.values():
        del section["per_nfe"]
    distill = sections.pop("distill")
    taught = {name: distill[name] for name in OF_TEACHER}
    return {".teacher": values | sections | {"distill": taught}, "": values | sections | {"distill": distill}}
