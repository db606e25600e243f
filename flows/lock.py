"""One run at a time in a project folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adasde.errors import AdaSDEError


@contextmanager
def only_run(project: Path) -> Iterator[None]:
    """Hold the project's lock; the system releases it when this process ends, however it ends.

    Raises:
        AdaSDEError: another run holds it.
    """
    path = project / ".cache" / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise AdaSDEError(
                f"another run is working in {project} (process {stream.read().strip() or 'unknown'}). "
                "Wait until it has ended, or stop it with Ctrl-C, then start this one again."
            ) from error
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
