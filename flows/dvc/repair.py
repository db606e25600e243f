"""Repair of files that a killed DVC leaves half-written; DVC does not write them atomically."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

CONFLICT = "<<<<<<< "
"""git's marker of a merge conflict, which the user has to resolve."""


def repair(project: Path) -> None:
    """Move files of ``project`` that DVC cannot read aside.

    ``.dvc/tmp/rwlock`` lists which process reads and writes what; DVC recreates it. Without ``dvc.lock`` DVC
    takes the outputs of stages from its run cache, or runs them again. Each file is checked under DVC's own
    lock, and kept as ``.cache/NAME.damaged``.
    """
    locks = project / ".dvc" / "tmp"
    if locks.is_dir():
        _repair(locks / "rwlock", locks / "rwlock.lock", project, readable=_is_json)
        _repair(project / "dvc.lock", locks / "lock", project, readable=_is_lock)


def _repair(path: Path, guard: Path, project: Path, *, readable: Callable[[str], bool]) -> None:
    if not path.is_file() or readable(path.read_text(encoding="utf-8", errors="replace")):
        return
    from dvc.lock import make_lock

    with make_lock(str(guard), tmp_dir=str(guard.parent), wait=True):
        if path.is_file() and not readable(path.read_text(encoding="utf-8", errors="replace")):
            aside = project / ".cache" / f"{path.name}.damaged"
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
            print(
                f"{path.relative_to(project)} was cut short by a run that was killed: put aside as "
                f"{aside.relative_to(project)}, DVC makes it again",
                file=sys.stderr,
            )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_lock(text: str) -> bool:
    """Whether DVC can read it, or the user has to resolve a conflict."""
    import yaml
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if CONFLICT in text:
        return True
    try:
        document = COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))
    except (yaml.YAMLError, Invalid):
        return False
    return "stages" in document and text.endswith("\n")
