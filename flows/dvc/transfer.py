"""Transfer of the pipeline's bytes to the storage and back: `dvc push` and `dvc pull` as child processes."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from adasde.errors import StoreError
from adasde.storage.check import require_working
from flows.dvc.remote import REMOTE, dvc_url, open_briefly
from flows.system.subprocesses import Child

TAIL = 10


def transfer(direction: Literal["push", "pull"], project: Path, *, force: bool = False) -> tuple[str, str]:
    """Push the files in dvc.lock to the storage, or pull them into the project.

    The storage is checked first, so that a failure has a plain reason. On a terminal DVC shows its own
    progress. ``force`` lets ``pull`` replace files that were changed here.

    Returns:
        Address of the remote, and the last line of DVC's output (empty if the terminal has shown it).

    Raises:
        StoreError: no storage is configured, it fails, there is no dvc.lock, or DVC failed.
    """
    url = dvc_url(project)
    if url is None:
        raise StoreError(
            "no storage is configured. Set ADASDE_STORAGE_URL, or storage.url in params.yaml, to "
            "s3://bucket/prefix or to a folder that other machines see; 'adasde store check' then shows "
            "whether it works.",
            kind="name",
        )
    if not (project / "dvc.lock").is_file():
        raise StoreError(
            f"{project} has no dvc.lock, which lists the files to transfer. 'adasde run' writes it, or check "
            "it out from git.",
            kind="missing",
        )
    require_working(open_briefly(project), writable=direction == "push")
    options = ["--force"] if force else []
    return url, run_dvc([direction, "--remote", REMOTE, *options], project, env=os.environ)


def run_dvc(words: Sequence[str], project: Path, *, env: Mapping[str, str]) -> str:
    """Run a DVC command in ``project``; the last line of its output, unless the terminal has shown it.

    Raises:
        StoreError: DVC failed; with its last lines.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *words]
    shown = sys.stderr if sys.stderr.isatty() else None
    child = Child(command, cwd=project, env={**env, "PYTHONUNBUFFERED": "1"}, output=shown)
    try:
        tail = deque((line.strip() for line in child.lines() if line.strip()), maxlen=TAIL)
        code = child.wait()
    finally:
        child.stop()
        child.wait()
    if code:
        reason = " / ".join(tail) or "its output is above"
        raise StoreError(
            f"`dvc {words[0]}` failed: {reason}. What was transferred is kept; fix the cause, then run the "
            "same command again: it transfers only the missing files."
        )
    return tail[-1] if tail else ""
