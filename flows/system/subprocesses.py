"""Child processes that end with this one, with their output line by line."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


class Child:
    """A command under ``supervise``: not reached by the terminal's Ctrl-C, ended by ``stop`` or with us."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: IO[str] | None = None,
        errors: IO[str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.system.supervise", *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=output or subprocess.PIPE,
            stderr=errors or subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def lines(self) -> Iterator[str]:
        """Lines of standard output and error until both are closed, without redirected ones."""
        for line in self._process.stdout or ():
            yield line.rstrip()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Interrupt it as by Ctrl-C, later kill it; returns at once."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()


class Crew:
    """Children that run in parallel, at most ``size`` at a time, and are stopped together."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._places = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self.stopping = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for a free slot and hold it."""
        with self._places:
            yield

    @contextmanager
    def child(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Iterator[Child]:
        """Start a command; it is stopped with the others, or when the block ends early.

        Raises:
            InterruptedError: the crew was stopped before the command began.
        """
        with self._lock:
            if self.stopping:
                raise InterruptedError("stopped before it began")
            child = Child(command, cwd=cwd, env=env)
            self._children.add(child)
        try:
            yield child
        finally:
            child.stop()
            child.wait()
            with self._lock:
                self._children.discard(child)

    def stop(self) -> None:
        """Interrupt every child; no other is started."""
        with self._lock:
            self.stopping = True
            for child in self._children:
                child.stop()
