"""Servers on this machine: started with a log, awaited until ready, stopped with their children."""

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
        """Return when the service is ready.

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
        """Whether the service has not ended."""
        return self._child.poll() is None

    def explain(self, what: str) -> str:
        """A paragraph: what happened to the service, and the last lines of its log."""
        with self.log.open(encoding="utf-8", errors="replace") as stream:
            lines = deque((line.rstrip() for line in stream if line.strip()), maxlen=TAIL)
        text = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
        return f"{self.name} {what}. Its last lines:\n{text}\nThe complete log is {self.log}."

    def stop(self) -> None:
        """Stop the service and wait until it has ended."""
        self._child.stop()
        self._child.wait()


def answers(url: str, timeout: float = 5.0) -> bool:
    """Whether ``url`` responds to a GET, even if it denies access."""
    try:
        with opener(url).open(url, timeout=timeout):
            return True
    except HTTPError as error:
        return error.code < 500
    except (OSError, HTTPException):
        return False


def is_local(url: str) -> bool:
    """Whether ``url`` is a loopback address, which no proxy can reach."""
    return urlsplit(url).hostname in ("localhost", HOST)


def opener(url: str) -> OpenerDirector:
    """Opener of ``url``: through the proxies of the environment, except for loopback addresses."""
    return build_opener(ProxyHandler({})) if is_local(url) else build_opener()


def free_port(*wanted: int) -> int:
    """First port of ``wanted`` that nothing listens on, else any free port."""
    for port in (*wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AdaSDEError(f"no port of {HOST} is free.")
