"""What a killed DVC leaves half written: it writes its own files in place, not beside them and then over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

CONFLICT = "<<<<<<< "
"""With what git marks a file that its user has to settle."""


def repair(project: Path) -> None:
    """Put aside what DVC could not read again in ``project``; nothing where no DVC was killed.

    ``.dvc/tmp/rwlock`` says which process reads and writes what: without it nobody does. Without ``dvc.lock``
    DVC takes the outputs of stages from its run cache, or lets them run again. Each is looked at while no
    other DVC may write it, and kept as ``.cache/NAME.damaged``.
    """
    locks = project / ".dvc" / "tmp"
    if locks.is_dir():
        _mend(locks / "rwlock", locks / "rwlock.lock", project, whole=_is_json)
        _mend(project / "dvc.lock", locks / "lock", project, whole=_is_lock)


def _mend(path: Path, guard: Path, project: Path, *, whole: Callable[[str], bool]) -> None:
    if not path.is_file() or whole(path.read_text(encoding="utf-8", errors="replace")):
        return
    from dvc.lock import make_lock

    with make_lock(str(guard), tmp_dir=str(guard.parent), wait=True):
        if path.is_file() and not whole(path.read_text(encoding="utf-8", errors="replace")):
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
    """Whether DVC can read it, or its user has to."""
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
