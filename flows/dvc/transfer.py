"""The pipeline's bytes to the storage and back: `dvc push` and `dvc pull` as child processes."""

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
    """Send what dvc.lock names to the storage, or bring it and put it in its place.

    The storage is tried first, so that what is wrong with it is said plainly. On a terminal DVC shows its
    own progress. ``force`` lets ``pull`` replace files that were changed here.

    Returns:
        Where the bytes lie, and what DVC said at the end (nothing where the terminal has shown it).

    Raises:
        StoreError: no storage is named, it does not work, there is no dvc.lock, or DVC failed.
    """
    url = dvc_url(project)
    if url is None:
        raise StoreError(
            "no storage is named. Set ADASDE_STORAGE_URL, or storage.url in params.yaml, to "
            "s3://bucket/prefix or to a folder that other machines see; 'adasde store check' then tells "
            "whether it works.",
            kind="name",
        )
    if not (project / "dvc.lock").is_file():
        raise StoreError(
            f"{project} has no dvc.lock, which names the bytes to move. 'adasde run' writes it; or take it "
            "from git, where it was committed.",
            kind="missing",
        )
    _try(direction, project)
    options = ["--force"] if force else []
    return url, run_dvc([direction, "--remote", REMOTE, *options], project, env=os.environ)


def _try(direction: Literal["push", "pull"], project: Path) -> None:
    """See that the storage works; who pulls need not be allowed to write."""
    store = open_briefly(project)
    if direction == "push":
        require_working(store)
        return
    for probe in store.probes().values():
        probe()


def run_dvc(words: Sequence[str], project: Path, *, env: Mapping[str, str]) -> str:
    """Let DVC move bytes in ``project``; the last line of its output, unless the terminal has shown it.

    Raises:
        StoreError: it failed, with its last words.
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
        said = " / ".join(tail) or "its words are above"
        raise StoreError(
            f"`dvc {words[0]}` failed: {said}. What has been moved is kept; repair the cause and start the "
            "same command again: it moves only what is missing."
        )
    return tail[-1] if tail else ""
