"""A server on this machine: started with a log, waited for until it answers, stopped with all it started."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, build_opener

from adasde.errors import AdaSDEError
from flows.system.subprocesses import Child

HOST = "127.0.0.1"
PATIENCE = 600.0
TAIL = 15


class Service:
    """A command that serves until it is stopped; ends with this process."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: Callable[[], bool],
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
    ) -> None:
        self.name = name
        self.log = log
        self._ready = ready
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as stream:
            self._child = Child(command, cwd=cwd, env=env, output=stream)

    def wait(self, patience: float = PATIENCE) -> None:
        """Return when it is ready.

        Raises:
            AdaSDEError: it ended, or is not ready in time; its last lines are in the message.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self.runs():
            if self._ready():
                return
            time.sleep(0.05)
        reason = f"does not answer after {patience:.0f} s" if self.runs() else "ended while it started"
        self.stop()
        raise AdaSDEError(self.explain(reason))

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def explain(self, what: str) -> str:
        """A paragraph: what happened to it, and the last lines that it said."""
        with self.log.open(encoding="utf-8", errors="replace") as stream:
            lines = deque((line.rstrip() for line in stream if line.strip()), maxlen=TAIL)
        said = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
        return f"{self.name} {what}. Its last lines:\n{said}\nAll it said is in {self.log}."

    def stop(self) -> None:
        """End it and wait until it has."""
        self._child.stop()
        self._child.wait()


def answers(url: str, timeout: float = 5.0) -> bool:
    """Whether somebody answers a GET of ``url``, be it that we may not."""
    try:
        with opener(url).open(url, timeout=timeout):
            return True
    except HTTPError as error:
        return error.code < 500
    except (OSError, HTTPException):
        return False


def opener(url: str) -> OpenerDirector:
    """For requests to ``url``: loopback addresses are never behind a proxy, whatever the environment says."""
    local = urlsplit(url).hostname in ("localhost", HOST)
    return build_opener(ProxyHandler({})) if local else build_opener()


def free_port(*wanted: int) -> int:
    """The first of ``wanted`` that nothing listens on, else any."""
    for port in (*wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AdaSDEError(f"no port of {HOST} is free.")
