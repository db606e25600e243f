"""Checks of services: Prefect, its worker and schedules; MLflow's store; the store of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adasde.errors import AdaSDEError
from flows.doctor.findings import CheckResult
from flows.servers.prefect import USUAL_PORT, ServerAddress, address, api_url
from flows.servers.prefect_api import PrefectApi
from flows.servers.service import HOST, answers
from flows.servers.worker import POOL, dead_runs, online_workers
from flows.system.locks import lock_holder

OF_DEPLOYMENTS = {"deployment_id": {"is_null_": False}}


def prefect(project: Path) -> Iterator[CheckResult]:
    """The Prefect server, and its worker, schedules and runs."""
    found = address(project) or default_server()
    if found is None:
        text = "no server is chosen or up: `adasde run` starts one of its own, but nothing runs on a schedule"
        yield CheckResult("prefect", "warning", text, "adasde up")
        return
    found.wait()
    api = PrefectApi(found.url)
    theirs, ours = str(api.get("admin/version")), version("prefect")
    text = f"{found.url} (from {found.source}), version {theirs}"
    if theirs != ours:
        yield CheckResult("prefect", "warning", f"{text}, but {ours} here", f"pip install prefect=={theirs}")
    else:
        yield CheckResult("prefect", "ok", text)
    yield worker(api)
    yield from schedules(api, project)
    yield from runs(api)


def default_server() -> ServerAddress | None:
    """Server at Prefect's default address, which `adasde prefect` uses if none is chosen."""
    found = ServerAddress(api_url(USUAL_PORT), "its usual address")
    if not answers(f"{found.url}/health"):
        return None
    try:
        return found if PrefectApi(found.url).get("admin/version") else None
    except AdaSDEError:  # another program
        return None


def worker(api: PrefectApi) -> CheckResult:
    """Whether a worker serves the pool of the schedules."""
    pool = api.get(f"work_pools/{POOL}")
    workers = [str(worker["name"]) for worker in online_workers(api)]
    if pool and pool["is_paused"]:
        remedy = f"adasde prefect work-pool resume {POOL}"
        return CheckResult("worker", "warning", f"the work pool {POOL} is paused", remedy)
    if not workers:
        text = f"none serves the work pool {POOL}" if pool else f"there is no work pool {POOL} yet"
        remedy = "adasde up, or adasde prefect worker start --pool adasde --type process --limit 1"
        return CheckResult("worker", "warning", f"{text}: nothing runs on a schedule", remedy)
    return CheckResult("worker", "ok", f"{', '.join(workers)} in the work pool {POOL}")


def schedules(api: PrefectApi, project: Path) -> Iterator[CheckResult]:
    """Registered deployments, the folders they work in, and the next run that is due."""
    deployments = api.post("deployments/filter", {"work_pools": {"name": {"any_": [POOL]}}}) or []
    register = "adasde prefect deploy --all"
    if not deployments:
        yield CheckResult("schedules", "warning", "no deployment is registered", register)
        return
    for deployment in deployments:
        place = working_directory(deployment)
        if place and Path(place) != project:
            text = f"{deployment['name']} works in {place}, not here"
            yield CheckResult("schedules", "warning", text, f"To let it work here: {register}")
    body = {"sort": "EXPECTED_START_TIME_ASC", "limit": 1}
    body |= {"flow_runs": OF_DEPLOYMENTS | {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    names = ", ".join(str(deployment["name"]) for deployment in deployments)
    due = [datetime.fromisoformat(run["expected_start_time"]) for run in api.post("flow_runs/filter", body)]
    when = (
        f"next run {due[0].astimezone():%Y-%m-%d %H:%M %Z}"
        if due
        else "nothing is due: paused, or no schedule"
    )
    yield CheckResult("schedules", "ok" if due else "warning", f"{names}; {when}")


def working_directory(deployment: dict[str, Any]) -> str | None:
    """Working directory that a deployment's pull step sets."""
    for step in deployment["pull_steps"] or []:
        for name, inputs in step.items():
            if name.endswith("set_working_directory"):
                return str(inputs["directory"])
    return None


def runs(api: PrefectApi) -> Iterator[CheckResult]:
    """Late runs, dead runs, and how the last run ended."""
    late = api.post(
        "flow_runs/count", {"flow_runs": OF_DEPLOYMENTS | {"state": {"name": {"any_": ["Late"]}}}}
    )
    if late:
        remedy = "They wait for the worker: start one, or let the present run end."
        yield CheckResult("runs", "warning", f"{late} scheduled runs are late", remedy)
    dead = [str(run["name"]) for run in dead_runs(api)] if HOST in api.url else []
    if dead:
        text = f"count as running, but no such process is here: {', '.join(dead)}"
        yield CheckResult("runs", "warning", text, "`adasde up` marks them as crashed when it starts.")
    ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
    last = api.post(
        "flow_runs/filter", {"sort": "END_TIME_DESC", "limit": 1, "flow_runs": OF_DEPLOYMENTS | ended}
    )
    for run in last or []:
        good = run["state_type"] == "COMPLETED"
        reason = "" if good else str(run["state"]["message"] or "").partition("\n")[0]
        text = f"the last one, {run['name']}: {run['state_name']}{reason and f' ({reason})'}"
        yield CheckResult("runs", "ok" if good else "warning", text)


def mlflow(project: Path) -> Iterator[CheckResult]:
    """Whether MLflow's store can be used, and its contents."""
    uri, own = os.environ["MLFLOW_TRACKING_URI"], f"sqlite:///{project / 'mlflow.db'}"
    if uri == own and not (project / "mlflow.db").exists():
        yield CheckResult("mlflow", "ok", "mlflow.db of the project, which the first run creates")
        return
    if uri.startswith("http") and not answers(f"{uri.rstrip('/')}/health"):
        remedy = "Start it, or unset MLFLOW_TRACKING_URI to use the project's own database."
        yield CheckResult("mlflow", "failed", f"{uri} (from MLFLOW_TRACKING_URI) does not answer", remedy)
        return
    from mlflow import MlflowClient

    client = MlflowClient(uri, registry_uri=uri)
    try:
        count = len(client.search_experiments())
        models = len(client.search_registered_models())
    except Exception as error:
        raise AdaSDEError(f"{uri} cannot be used: {' '.join(str(error).split())}") from error
    name = "mlflow.db of the project" if uri == own else f"{uri} (from MLFLOW_TRACKING_URI)"
    shown = lock_holder(project, "servers").get("mlflow")
    pages = f", shown at {shown}" if shown else ""
    yield CheckResult("mlflow", "ok", f"{name}: {count} experiments, {models} registered models{pages}")


def store(project: Path) -> Iterator[CheckResult]:
    """Whether the store of coefficients and data works, by writing and deleting a small object."""
    from adasde.storage.check import check
    from adasde.storage.resolve import DEFAULT, configured_url

    steps = list(check())
    failed = [step for step in steps if step.outcome == "failed"]
    for step in failed:
        yield CheckResult("store", "failed", f"{step.name}: {step.note}")
    if not failed:
        seconds = sum(step.milliseconds for step in steps) / 1000
        place = configured_url(project) or f"the folder {DEFAULT} of the project"
        yield CheckResult("store", "ok", f"{place}: written, read, listed and deleted in {seconds:.1f} s")


CHECKS = {"prefect": prefect, "mlflow": mlflow, "store": store}
