"""The Prefect server of a command: the configured or running one, else a temporary one.

A temporary server is Prefect's ephemeral one. It starts before Prefect itself is imported, so that both load
in parallel, and the terminal's Ctrl-C does not reach it, so that it can still record that a run was stopped.
"""

from __future__ import annotations

import atexit
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adasde.errors import AdaSDEError
from flows.servers.service import HOST, Service, answers, free_port
from flows.system.databases import PREFECT
from flows.system.locks import lock_holder

USUAL_PORT = 4200
EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


@dataclass(frozen=True)
class ServerAddress:
    """API address of a Prefect server, the setting that it comes from, and the server if we started it."""

    url: str
    source: str
    service: Service | None = None

    def responds(self) -> bool:
        """Whether the server answers."""
        return answers(f"{self.url.rstrip('/')}/health")

    def wait(self) -> None:
        """Return when the server answers.

        Raises:
            AdaSDEError: it does not; says which setting chose it and what to do, or why it has ended.
        """
        if self.service:
            self.service.wait()
        elif not self.responds():
            raise AdaSDEError(
                f"the Prefect server at {self.url} (from {self.source}) does not answer. Start it, or "
                "unset that choice: `adasde run` then starts a temporary server of its own."
            )


def prefect_server(project: Path, port: int, *, log: Path, flags: Mapping[str, str]) -> Service:
    """Prefect server on ``port``, started with ``flags`` added to the environment."""
    PREFECT.provide(Path(os.environ["PREFECT_HOME"]) / "prefect.db")
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    command += ["--host", HOST, "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    command += ["--timeout-graceful-shutdown", "5"]  # open pages would keep it running
    health = f"{api_url(port)}/health"
    env = os.environ | flags
    return Service("Prefect", command, ready=lambda: answers(health), cwd=project, env=env, log=log)


def api_url(port: int) -> str:
    """API address of a Prefect server on ``port`` of this machine."""
    return f"http://{HOST}:{port}/api"


def temporary_server(project: Path) -> ServerAddress:
    """Server on a free loopback port; ends with this process."""
    port = free_port()
    service = prefect_server(project, port, log=project / ".cache" / "prefect-server.log", flags=EPHEMERAL)
    atexit.register(service.stop)
    return ServerAddress(api_url(port), "this command", service)


def address(project: Path) -> ServerAddress | None:
    """Prefect server that the user has chosen, else that of ``adasde up``; None if there is neither."""
    if url := os.environ.get("PREFECT_API_URL"):
        return ServerAddress(url, "PREFECT_API_URL")
    profiles = Path(os.environ["PREFECT_HOME"]) / "profiles.toml"
    if url := _profile(profiles).get("PREFECT_API_URL"):
        return ServerAddress(str(url), str(profiles))
    if url := lock_holder(project, "servers").get("prefect"):
        return ServerAddress(str(url), "adasde up")
    return None


def api_of(project: Path) -> str:
    """API address for the project's schedules: that of the chosen server, or Prefect's default."""
    found = address(project)
    return found.url if found else api_url(USUAL_PORT)


def _profile(path: Path) -> dict[str, Any]:
    """Settings of Prefect's active profile; empty if there is none."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    name = os.environ.get("PREFECT_PROFILE") or document.get("active")
    return dict(document.get("profiles", {}).get(name, {}))
