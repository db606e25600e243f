"""Everything that scheduled runs need on one machine: Prefect, MLflow and a worker, up and down together."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from adasde.errors import AdaSDEError
from flows.servers.prefect import USUAL_PORT, api_url, prefect_server
from flows.servers.prefect_api import PrefectApi
from flows.servers.service import HOST, Service, answers, free_port
from flows.servers.worker import bury, start_worker
from flows.system.locks import project_lock
from flows.tracking.client import artifact_root

LOGS = Path(".cache", "logs")


@dataclass(frozen=True)
class Plan:
    """What to start: ports (None takes the usual one, or a free one), and what to leave out."""

    prefect_port: int | None = None
    mlflow_port: int | None = None
    mlflow: bool = True
    worker: bool = True


class Together:
    """Services that are stopped together, the last one first; one that ends by itself ends all."""

    def __init__(self) -> None:
        self._services: list[Service] = []
        self._stack = ExitStack()

    def __enter__(self) -> Together:
        """Nothing runs yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop all."""
        self._stack.close()

    def add(self, service: Service) -> Service:
        """One more, which has been started."""
        self._stack.callback(service.stop)
        self._services.append(service)
        return service

    def wait(self) -> None:
        """Return when all are ready.

        Raises:
            AdaSDEError: one of them is not; says why.
        """
        for service in self._services:
            service.wait()

    def stay(self) -> None:
        """Return only through an interrupt.

        Raises:
            AdaSDEError: one of them has ended.
        """
        while all(service.runs() for service in self._services):
            time.sleep(0.5)
        (ended, *_) = (service for service in self._services if not service.runs())
        raise AdaSDEError(ended.explain("ended by itself, so everything else was stopped"))


def serve(project: Path, plan: Plan, *, say: Callable[[str], None]) -> None:
    """Start what ``plan`` wants, say where it is, and stay until interrupted; then stop all of it.

    Raises:
        AdaSDEError: the servers are up already, a port is taken, or one of them fails; says why.
    """
    with project_lock(project, "servers") as announce, Together() as services:
        port = _port(plan.prefect_port, USUAL_PORT, "--prefect-port")
        api = PrefectApi(api_url(port))
        flags = {"PREFECT_API_URL": api.url}  # also what its pages ask
        services.add(prefect_server(project, port, log=project / LOGS / "prefect.log", flags=flags))
        store = os.environ["MLFLOW_TRACKING_URI"]
        url = start_mlflow(project, store, plan.mlflow_port, services) if plan.mlflow else ""
        say("starting …")
        services.wait()
        announce({"prefect": api.url, "mlflow": url})
        say(f"Prefect  http://{HOST}:{port}")
        say(f"MLflow   {url or store}")
        if plan.worker:
            for name in bury(api):
                say(f"Crashed  {name}, which was under way when its worker was stopped")
            services.add(start_worker(project, api, log=project / LOGS / "worker.log")).wait()
            say("Worker   runs what is scheduled, one run after the other")
        say(f"Logs     {LOGS}")
        say("`adasde prefect deploy --all` registers the schedules of prefect.yaml. Ctrl-C stops everything.")
        services.stay()


def start_mlflow(project: Path, store: str, port: int | None, services: Together) -> str:
    """Start MLflow's server on the database ``store``; its address. A store that is a server needs none."""
    if store.startswith("http"):
        return ""
    port = _port(port, 5000, "--mlflow-port")
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store, "--no-serve-artifacts"]
    command += ["--default-artifact-root", artifact_root(project, store) or "mlruns"]
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = project / LOGS / "mlflow.log"
    services.add(
        Service("MLflow", command, ready=lambda: answers(f"{url}/health"), cwd=project, env=env, log=log)
    )
    return url


def _port(wanted: int | None, usual: int, option: str) -> int:
    if wanted is None:
        return free_port(usual)
    if free_port(wanted) != wanted:
        raise AdaSDEError(
            f"port {wanted} of {HOST} is taken by another program. "
            f"Name another with {option}, or leave it out to take the usual one or any that is free."
        )
    return wanted
