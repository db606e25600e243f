"""A temporary Prefect server for one command, where no server is configured.

It is Prefect's ephemeral server, started before Prefect itself is imported so that both load side by
side, and out of reach of the terminal's Ctrl-C so that it can still record that a run was stopped.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
import urllib.request
from pathlib import Path

from adasde.errors import AdaSDEError
from flows.processes import Child

PATIENCE = 120.0


class TemporaryServer:
    """A server on a free loopback port; ends with this process."""

    def __init__(self, project: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
        flags = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        self._log = project / ".cache" / "prefect-server.log"
        self._log.parent.mkdir(exist_ok=True)
        with self._log.open("w") as log:
            self._child = Child(command, cwd=project, env=os.environ | flags, output=log)
        atexit.register(self.stop)

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            AdaSDEError: it ended, or does not answer in two minutes.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise AdaSDEError(f"Prefect's temporary server did not start; what it said is in {self._log}.")

    def stop(self) -> None:
        """End it and wait until it has."""
        self._child.stop()
        self._child.wait()


def configured() -> bool:
    """Whether the user has chosen a Prefect server, or may have done so in a profile."""
    profiles = Path(os.environ["PREFECT_HOME"]) / "profiles.toml"
    return bool(os.environ.get("PREFECT_API_URL")) or profiles.exists()
