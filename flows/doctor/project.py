"""Checks of the project: its folder, its params, DVC's stages, git."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.findings import CheckResult

GIGABYTE = 1e9
NEEDED, COMFORTABLE = 1.0, 5.0
"""Gigabytes that must be free, and below which there is a warning."""


def folder(project: Path) -> Iterator[CheckResult]:
    """Whether the folder is writable, and its free space."""
    try:
        with tempfile.TemporaryFile(dir=project):
            pass
    except OSError as error:
        remedy = "Make it writable for this user, or work in a copy that is."
        yield CheckResult("folder", "failed", f"{project} cannot be written: {error.strerror}", remedy)
        return
    free = shutil.disk_usage(project).free / GIGABYTE
    status = "ok" if free >= COMFORTABLE else "warning" if free >= NEEDED else "failed"
    remedy = (
        "" if status == "ok" else "Free some space; `dvc gc --workspace` removes outputs of earlier runs."
    )
    yield CheckResult("folder", status, f"{project}, {free:.1f} GB free", remedy)  # type: ignore[arg-type]


def params(project: Path) -> Iterator[CheckResult]:
    """Whether params.yaml is valid and has the keys that dvc.yaml needs."""
    from adasde.config.params import load_params
    from flows.dvc.graph import require_params

    values = load_params(project / "params.yaml")
    require_params(project)
    budgets = ", ".join(str(nfe) for nfe in values.nfe)
    yield CheckResult("params", "ok", f"params.yaml is valid: {values.model} at {budgets} evaluations")


def stages(project: Path) -> Iterator[CheckResult]:
    """Stages that DVC would run."""
    from flows.dvc import graph
    from flows.dvc.prepare import prepare_dvc
    from flows.system.locks import lock_holder

    prepare_dvc(project)
    known = graph.read_stages(project)
    run = lock_holder(project, "run")
    if run:
        yield CheckResult("stages", "ok", f"a run is working on them now (process {run['process']})")
        return
    changed = len(known) - len(graph.unchanged(project, known, env=os.environ))
    state = f"{changed} would run" if changed else "all of them up to date"
    yield CheckResult("stages", "ok", f"{len(known)} in dvc.yaml, {state}")


def git(project: Path) -> Iterator[CheckResult]:
    """Commit that a run would be tracked with."""
    from flows.system.environment import in_git

    if not in_git(project):
        yield CheckResult("git", "ok", "not a git work tree: runs are tracked without a commit")
        return
    commit = _git(project, "rev-parse", "--short", "HEAD") or "no commit yet"
    changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    yield CheckResult("git", "ok", f"{commit}{', with uncommitted changes' if changed else ''}")


def _git(project: Path, *words: str) -> str:
    command = ["git", "-C", str(project), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


CHECKS = {"folder": folder, "params": params, "stages": stages, "git": git}
