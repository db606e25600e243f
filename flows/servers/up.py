"""``adasde up``: Prefect, MLflow and a worker on this machine, started and stopped together."""

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
from flows.servers.worker import mark_crashed, start_worker
from flows.system.locks import project_lock
from flows.tracking.client import artifact_root

LOGS = Path(".cache", "logs")
NEXT = "`adasde prefect deploy --all` registers the schedules of prefect.yaml. Ctrl-C stops everything."


@dataclass(frozen=True)
class ServerOptions:
    """What ``adasde up`` starts: ports (None: the default one, or a free one), and which parts."""

    prefect_port: int | None = None
    mlflow_port: int | None = None
    mlflow: bool = True
    worker: bool = True


class ServiceGroup(ExitStack):
    """Services that are stopped together, the last one first; if one ends by itself, all end."""

    def __init__(self) -> None:
        super().__init__()
        self._services: list[Service] = []

    def add(self, service: Service) -> Service:
        """Another service, which has been started."""
        self.callback(service.stop)
        self._services.append(service)
        return service

    def wait(self) -> None:
        """Return when all services are ready.

        Raises:
            AdaSDEError: one of them is not; says why.
        """
        for service in self._services:
            service.wait()

    def stay(self) -> None:
        """Return only through an interrupt.

        Raises:
            AdaSDEError: one of the services has ended.
        """
        while not (ended := [service for service in self._services if not service.runs()]):
            time.sleep(0.5)
        raise AdaSDEError(ended[0].explain("ended by itself, so everything else was stopped"))


def serve(project: Path, options: ServerOptions, *, echo: Callable[[str], None]) -> None:
    """Start servers and worker, ``echo`` their addresses, stay until interrupted, then stop them all.

    Raises:
        AdaSDEError: the servers are up already, a port is taken, or one of them fails; says why.
    """
    with project_lock(project, "servers") as announce, ServiceGroup() as services:
        port = _port(options.prefect_port, USUAL_PORT, "--prefect-port")
        api = PrefectApi(api_url(port))
        flags = {"PREFECT_API_URL": api.url}  # the address that its pages use too
        services.add(prefect_server(project, port, log=project / LOGS / "prefect.log", flags=flags))
        store = os.environ["MLFLOW_TRACKING_URI"]
        url = start_mlflow(project, store, options.mlflow_port, services) if options.mlflow else ""
        echo("starting …")
        if options.worker:
            import prefect.client.orchestration  # noqa: F401 (while the servers start)
        services.wait()
        announce({"prefect": api.url, "mlflow": url})
        echo(f"Prefect  http://{HOST}:{port}")
        echo(f"MLflow   {url or store}")
        if options.worker:
            for name in mark_crashed(api):
                echo(f"Crashed  {name}, which was running when its worker was stopped")
            services.add(start_worker(project, api, log=project / LOGS / "worker.log")).wait()
            echo("Worker   runs what is scheduled, one run after the other")
        echo(f"Logs     {LOGS}")
        echo(NEXT)
        services.stay()


def start_mlflow(project: Path, store: str, port: int | None, services: ServiceGroup) -> str:
    """Start MLflow's server on the database ``store``; its address, or empty if ``store`` is a server."""
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
            f"Name another with {option}, or leave it out to use the default port or a free one."
        )
    return wanted
