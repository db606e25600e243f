"""`adasde up`, the shipped prefect.yaml and real servers: what a schedule does, well and badly."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from projects import ROOT, Project
from site_server import Quiet, served
from waiting import eventually, processes_in

from flows.servers.prefect import api_url
from flows.servers.prefect_api import PrefectApi
from flows.servers.service import answers, free_port
from flows.system.locks import project_lock

pytestmark = pytest.mark.long


@dataclass
class Up:
    """A project whose servers are up."""

    project: Project
    process: subprocess.Popen[str]
    api: PrefectApi
    mlflow: str
    deployment: dict[str, Any]
    sweep: dict[str, Any]

    def start_run(self, deployment: dict[str, Any] | None = None) -> str:
        """Ask for a run now, as the scheduler does; its id. The nightly one's unless another is named."""
        body = {"state": {"type": "SCHEDULED"}}
        number = (deployment or self.deployment)["id"]
        return self.api.post(f"deployments/{number}/create_flow_run", body)["id"]

    def run(self, run_id: str) -> dict[str, Any]:
        return self.api.get(f"flow_runs/{run_id}")

    def ended(self, run_id: str) -> dict[str, Any]:
        """The run, once it has ended."""
        return eventually(lambda: (run := self.run(run_id))["end_time"] and run)

    def states(self, run_id: str) -> list[str]:
        """The names of the states that the run went through."""
        return [state["name"] for state in self.api.get(f"flow_run_states/?flow_run_id={run_id}")]

    def task_states(self, run_id: str) -> dict[str, str]:
        body = {"task_runs": {"flow_run_id": {"any_": [run_id]}}}
        return {task["name"]: task["state_name"] for task in self.api.post("task_runs/filter", body)}

    def tracked_runs(self) -> int:
        with closing(sqlite3.connect(self.project.root / "mlflow.db")) as connection:
            return connection.execute("SELECT count(*) FROM runs").fetchone()[0]


@pytest.fixture(scope="module")
def up(make_toy) -> Iterator[Up]:
    """The shipped prefect.yaml, due every few seconds, and a short delay before the only retry."""
    project = make_toy()
    project.params("nfe", value=[3])
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    deployments = {one["name"]: one for one in document["deployments"]}
    nightly, sweep = deployments["nightly"], deployments["sweep"]
    sweep["parameters"]["settings"] = {"distill.lr": [0.02, 0.05], "nfe": 3}
    nightly["schedules"] = [{"slug": "often", "interval": 10}]
    variables = nightly["work_pool"]["job_variables"]["env"]
    variables["PREFECT_FLOWS_DEFAULT_RETRIES"], variables["PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"] = (
        "1",
        "2",
    )
    (project.root / "prefect.yaml").write_text(yaml.safe_dump(document | {"deployments": [nightly, sweep]}))
    prefect, mlflow = free_port(), free_port()
    process = project.start("up", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow))
    try:
        wait_for_line(process, "Ctrl-C stops everything")
        project.adasde("prefect", "deploy", "--all")
        api = PrefectApi(api_url(prefect))
        found = {one["name"]: one for one in api.post("deployments/filter", {})}
        yield Up(project, process, api, f"http://127.0.0.1:{mlflow}", found["nightly"], found["sweep"])
    finally:
        process.terminate()
        process.communicate(timeout=300)


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read() if process.stderr else "")


def test_a_scheduled_run_completes_and_shows_its_results(up: Up) -> None:
    def completed() -> list[dict[str, Any]]:
        runs = up.api.post(
            "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED"]}}}}
        )
        return [run for run in runs if run["auto_scheduled"]]

    run = eventually(completed, 600)[0]
    up.api.post(f"deployments/{up.deployment['id']}/pause_deployment", {})
    assert run["state_name"] == "Completed"
    states = up.task_states(run["id"])
    assert {
        states[name]
        for name in ("fetch", "teacher@custom-3", "distill@custom-3", "report", "publish", "track")
    } == {"Completed"}
    artifacts = up.api.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    shown = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert "| AdaSDE |" in shown["results"]
    assert "data:image/png;base64," in shown["fid"]
    assert up.tracked_runs() == 1
    assert (up.project.root / "report/results.json").is_file(), "it worked in the project"
    assert [path for path in up.project.home.rglob("*") if path.is_file()] == []


def test_one_run_waits_for_another_by_hand_and_a_third_is_left_out(up: Up) -> None:
    eventually(lambda: not active(up))
    with project_lock(up.project.root, "run"):
        first = up.start_run()
        state = eventually(lambda: (run := up.run(first))["state_name"] == "Waiting" and run["state"])
        assert f"another run is working in {up.project.root} (process {os.getpid()})" in state["message"]
        second = up.start_run()
        left_out = eventually(lambda: (run := up.run(second))["state_name"] == "Cancelled" and run)
        assert left_out["state"]["message"] == "Deployment concurrency limit reached."
    run = up.ended(first)
    assert run["state_name"] == "Completed"
    tasks = up.task_states(first)
    assert {tasks[name] for name in tasks if "@" in name or name in ("fetch", "report")} == {"Cached"}
    assert up.tracked_runs() == 1, "nothing has changed, so nothing is tracked"


def active(up: Up) -> list[dict[str, Any]]:
    body = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED"]}}}}
    return up.api.post("flow_runs/filter", body)


class Webhook(Quiet):
    """Keeps what it is sent."""

    sent: list[bytes]

    def do_POST(self) -> None:
        self.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()


@contextmanager
def told_of_failures(up: Up) -> Iterator[list[bytes]]:
    """What the automation of docs/notify.py sends."""
    hook = type("Hook", (Webhook,), {"sent": []})
    with served(hook) as url:
        command = [sys.executable, str(ROOT / "docs/notify.py"), url]
        env = up.project.environment()
        done = subprocess.run(command, cwd=up.project.root, env=env, capture_output=True, text=True)
        assert done.stdout == f"failures of scheduled runs go to {url}\n", done.stderr
        yield hook.sent


def test_a_failing_run_is_tried_again_and_then_says_why(up: Up) -> None:
    (up.project.root / "FAIL").write_text("sample@custom-3")
    up.project.params("distill", "lr", value=0.07)
    with told_of_failures(up) as sent:
        run_id = up.start_run()
        run = up.ended(run_id)
        (up.project.root / "FAIL").unlink()
        eventually(lambda: sent, 120)
    (text,) = (json.loads(message)["text"] for message in sent)
    assert text.startswith(f"adasde run {run['name']}: Failed\n")
    assert "the reason why sample@custom-3 fails" in text
    assert text.endswith(f"\n{up.api.url.removesuffix('/api')}/runs/flow-run/{run_id}")
    names = up.states(run_id)
    assert names[-4:] == ["Running", "AwaitingRetry", "Running", "Failed"], names
    assert "stage sample@custom-3 failed. Its last lines:" in run["state"]["message"]
    assert "the reason why sample@custom-3 fails" in run["state"]["message"]
    # logs arrive later than states, and those of the last moment of a try may be lost under load
    question = {"logs": {"flow_run_id": {"any_": [run_id]}, "level": {"ge_": 40}}}
    start = "stage sample@custom-3 failed. Its last lines:\n"
    messages = lambda: [log["message"] for log in up.api.post("logs/filter", question)]  # noqa: E731
    eventually(lambda: any(message.startswith(start) for message in messages()))
    assert not any("Traceback" in message for message in messages())
    assert sum(message.startswith(start) for message in messages()) <= 2, "once a try"


def test_a_sweep_is_a_deployment_too(up: Up) -> None:
    eventually(lambda: not active(up))
    before = up.tracked_runs()
    run = up.ended(up.start_run(up.sweep))
    assert run["state_name"] == "Completed", run["state"]
    assert run["parameters"]["settings"] == {"distill.lr": [0.02, 0.05], "nfe": 3}
    trials = up.api.post("flow_runs/filter", {"flow_runs": {"name": {"like_": "lr="}}})
    assert {trial["name"]: trial["state_name"] for trial in trials} == {
        "lr=0.02 nfe=3": "Completed",
        "lr=0.05 nfe=3": "Completed",
    }
    assert up.tracked_runs() == before + 3, "the trials and their parent"


def test_a_run_by_hand_uses_the_server_that_is_up(up: Up) -> None:
    summary = up.project.run()
    assert summary["stages"]["distill@custom-3"] == "unchanged", "kept from the run that failed"
    assert summary["stages"]["sample@custom-3"] == "ran"
    by_hand = {"flow_runs": {"deployment_id": {"is_null_": True}}, "flows": {"name": {"any_": ["adasde"]}}}
    (run,) = up.api.post("flow_runs/filter", by_hand)
    assert run["state_name"] == "Completed"
    assert not (up.project.root / ".cache/prefect-server.log").exists()


def test_the_doctor_finds_everything_up(up: Up) -> None:
    findings = json.loads(up.project.adasde("doctor", "--json").stdout)["findings"]
    texts = {one["name"]: one["text"] for one in findings}
    assert {one["name"]: one["text"] for one in findings if one["status"] == "failed"} == {}
    assert f"{up.api.url} (from adasde up)" in texts["prefect"]
    assert f"shown at {up.mlflow}" in texts["mlflow"]
    assert "in the work pool adasde" in texts["worker"]


def test_mlflow_shows_the_files_of_runs(up: Up) -> None:
    with closing(sqlite3.connect(up.project.root / "mlflow.db")) as connection:
        (run,) = connection.execute("SELECT run_uuid FROM runs LIMIT 1").fetchone()
    assert answers(f"{up.mlflow}/get-artifact?path=report/fid.png&run_uuid={run}")


def test_everything_ends_on_a_signal(up: Up) -> None:
    (up.project.root / "SLOW").write_text("sample@custom-3")
    up.project.params("distill", "lr", value=0.08)
    run_id = up.start_run()
    eventually((up.project.root / "STARTED").exists)
    up.process.send_signal(signal.SIGTERM)
    out, err = up.process.communicate(timeout=300)
    assert (up.process.returncode, err) == (0, "")
    assert out.endswith("stopped\n")
    assert processes_in(up.project.root) == []
    with closing(sqlite3.connect(up.project.root / ".prefect/prefect.db")) as connection:
        states = dict(connection.execute("SELECT replace(id, '-', ''), state_name FROM flow_run"))
    # the server may be gone before the worker has told it; the next worker then finds the run and says so
    assert states[run_id.replace("-", "")] in ("Crashed", "Running")
