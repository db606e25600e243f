"""The worker of scheduled runs: its pool, its process, and the runs that an earlier worker left."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adasde.errors import AdaSDEError
from flows.servers.prefect_api import PrefectApi
from flows.servers.service import Service

POOL = "adasde"
"""The work pool that prefect.yaml names."""

RUNS_AT_ONCE = 1
"""A worker's limit: the runs of one machine share its GPU and cores one after the other."""

LEFT = {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}, "name": {"any_": ["AwaitingRetry"]}}


def start_worker(project: Path, api: PrefectApi, *, log: Path) -> Service:
    """Start a worker of the pool, creating the pool if needed; it is ready once the server lists it."""
    name = platform.node() or "this machine"
    since = datetime.now(UTC)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    command += ["--name", name, "--limit", str(RUNS_AT_ONCE)]
    env = os.environ | {"PREFECT_API_URL": api.url, "PREFECT_CLI_PROMPT": "false"}

    def ready() -> bool:
        try:
            return any(worker["name"] == name and _seen(worker) > since for worker in online_workers(api))
        except AdaSDEError:  # the server is busy
            return False

    return Service("The worker", command, ready=ready, cwd=project, env=env, log=log)


def online_workers(api: PrefectApi) -> list[dict[str, Any]]:
    """Workers of the pool with a recent heartbeat; none if there is no pool."""
    workers = api.post(f"work_pools/{POOL}/workers/filter", {}) or []
    return [worker for worker in workers if worker["status"] == "ONLINE"]


def dead_runs(api: PrefectApi) -> Iterator[dict[str, Any]]:
    """Runs of deployments that count as running or awaiting a retry, but have no process on this machine."""
    state = {"operator": "or_", **LEFT}
    body = {"flow_runs": {"state": state, "deployment_id": {"is_null_": False}}}
    for run in api.post("flow_runs/filter", body):
        if not _alive(run["infrastructure_pid"]):
            yield run


def mark_crashed(api: PrefectApi) -> list[str]:
    """Set ``dead_runs`` to crashed, which frees what they hold; their names."""
    message = "The machine or the worker was stopped while this run was running; the next one resumes."
    state = {"type": "CRASHED", "name": "Crashed", "message": message}
    names = []
    for run in dead_runs(api):
        api.post(f"flow_runs/{run['id']}/set_state", {"state": state})
        names.append(str(run["name"]))
    return names


def _seen(worker: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(worker["last_heartbeat_time"])


def _alive(pid: str | None) -> bool:
    """Whether a process has the number that a worker recorded (``123``, or ``host:123``)."""
    number = (pid or "").rpartition(":")[2]
    if not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
