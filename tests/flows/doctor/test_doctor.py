from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import Project
from site_server import Quiet, served

from adasde.errors import AdaSDEError
from flows.doctor import machine, servers
from flows.doctor.findings import CheckResult, show, tried
from flows.servers import worker
from flows.servers.service import free_port


class Api:
    """A Prefect server that gives fixed answers, and records its requests."""

    url = "http://127.0.0.1:1/api"

    def __init__(self, **answers: Any) -> None:
        self._answers = answers
        self.sent: list[tuple[str, Any]] = []

    def get(self, path: str) -> Any:
        return self._answers.get(path.split("/")[0])

    def post(self, path: str, body: Any) -> Any:
        self.sent.append((path, body))
        value = self._answers.get(path.replace("/", "_"))
        return value(body) if callable(value) else value


class Prefect(Quiet):
    """Answers every GET with ``answer``."""

    answer: bytes

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)


def run(**values: Any) -> dict[str, Any]:
    state = {"message": "stage sample@custom-3 failed.\nIts last lines"}
    return {"id": "7", "name": "brave-owl", "infrastructure_pid": None, "state": state} | values


def test_versions_that_do_not_fit_are_named() -> None:
    wanted = ["numpy<1", "torch>=2", "no-such-package>=1; extra == 'pipeline'", "prefect<1; extra == 'other'"]
    first, second = machine.mismatches(wanted)
    assert first.startswith("numpy ") and first.endswith(" is installed, <1 is needed")
    assert second == "no-such-package is not installed"


def test_what_a_check_raises_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    def explains() -> Iterator[CheckResult]:
        yield CheckResult("disk", "ok", "there")
        raise AdaSDEError("the reason")

    def breaks() -> Iterator[CheckResult]:
        raise ZeroDivisionError("oh")
        yield

    found = [*tried("disk", explains), *tried("cpu", breaks)]
    assert [(one.name, one.status) for one in found] == [
        ("disk", "ok"),
        ("disk", "failed"),
        ("cpu", "failed"),
    ]
    assert found[2].text == "cannot be examined: ZeroDivisionError: oh"
    assert not show(found, as_json=False)
    assert "failed  disk      the reason" in capsys.readouterr().out
    assert show(found[:1], as_json=True)
    assert json.loads(capsys.readouterr().out)["findings"][0]["text"] == "there"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'"3.8.0"', "(from its usual address), version 3.8.0"),
        (b"hello", "no server is chosen or up"),
        (None, "no server is chosen or up"),
    ],
    ids=["Prefect", "another program", "nobody"],
)
def test_a_server_at_the_usual_address_is_found(
    answer: bytes | None, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As README.md starts it: nothing is set, and `adasde up` does not run."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with served(type("Handler", (Prefect,), {"answer": answer or b""})) as url:
        port = free_port() if answer is None else int(url.rpartition(":")[2])
        monkeypatch.setattr(servers, "USUAL_PORT", port)
        first = next(servers.prefect(tmp_path))
    assert text in first.text


@pytest.mark.parametrize(
    ("answers", "status", "text"),
    [
        ({}, "warning", "there is no work pool adasde yet"),
        ({"work_pools": {"is_paused": False}}, "warning", "none serves the work pool"),
        ({"work_pools": {"is_paused": True}}, "warning", "is paused"),
        (
            {
                "work_pools": {"is_paused": False},
                "work_pools_adasde_workers_filter": [
                    {"name": "here", "status": "ONLINE"},
                    {"name": "gone", "status": "OFFLINE"},
                ],
            },
            "ok",
            "here in the work pool adasde",
        ),
    ],
)
def test_the_worker(answers: dict[str, Any], status: str, text: str) -> None:
    found = servers.worker(Api(**answers))  # type: ignore[arg-type]
    assert found.status == status
    assert text in found.text
    assert bool(found.remedy) == (status == "warning")


def test_schedules_of_another_folder_and_paused_ones(tmp_path: Path) -> None:
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/elsewhere"}}
    nightly = {"name": "nightly", "pull_steps": [step]}
    api = Api(deployments_filter=[nightly], flow_runs_filter=[])
    moved, idle = servers.schedules(api, tmp_path)  # type: ignore[arg-type]
    assert "nightly works in /elsewhere, not here" in moved.text and "deploy --all" in moved.remedy
    assert (idle.status, idle.text) == ("warning", "nightly; nothing is due: paused, or no schedule")
    (none,) = servers.schedules(Api(), tmp_path)  # type: ignore[arg-type]
    assert none.text == "no deployment is registered"


def test_the_next_run_is_shown(tmp_path: Path) -> None:
    due = [{"expected_start_time": "2026-11-05T03:00:00Z"}]
    api = Api(deployments_filter=[{"name": "nightly", "pull_steps": None}], flow_runs_filter=due)
    (found,) = servers.schedules(api, tmp_path)  # type: ignore[arg-type]
    assert found.status == "ok" and found.text.startswith("nightly; next run 2026-11-0")


def test_late_dead_and_failed_runs() -> None:
    def runs(body: dict[str, Any]) -> list[dict[str, Any]]:
        ended = run(state_type="FAILED", state_name="Failed")
        return (
            [ended] if "sort" in body else [run(name="dead-dodo"), run(infrastructure_pid=str(os.getpid()))]
        )

    late, dead, last = servers.runs(Api(flow_runs_count=2, flow_runs_filter=runs))  # type: ignore[arg-type]
    assert late.text == "2 scheduled runs are late"
    assert dead.text.endswith("no such process is here: dead-dodo")
    assert last.text == "the last one, brave-owl: Failed (stage sample@custom-3 failed.)"


def test_dead_runs_are_marked_as_crashed() -> None:
    alive, dead = run(infrastructure_pid=f"host:{os.getpid()}"), run(infrastructure_pid="999999999")
    api = Api(flow_runs_filter=[alive, dead])
    assert worker.mark_crashed(api) == ["brave-owl"]  # type: ignore[arg-type]
    path, body = api.sent[-1]
    assert path == "flow_runs/7/set_state"
    assert body["state"]["type"] == "CRASHED"


class Broken(Project):
    """A project whose user has chosen servers that do not answer."""

    def environment(self) -> dict[str, str]:
        nobody = f"http://127.0.0.1:{free_port()}"
        chosen = {"PREFECT_API_URL": f"{nobody}/api", "MLFLOW_TRACKING_URI": nobody}
        return super().environment() | chosen


@pytest.mark.integration
def test_a_broken_project_is_explained_line_by_line(make_toy) -> None:
    toy = make_toy()
    text = (toy.root / "params.yaml").read_text()
    (toy.root / "params.yaml").write_text(text.replace("gamma_max", "gama_max"))
    ended = Broken(toy.root, toy.home).adasde("doctor", "--json", code=1)
    found = {one["name"]: one for one in json.loads(ended.stdout)["findings"]}
    assert ended.stderr == ""
    assert [name for name, one in found.items() if one["status"] == "failed"] == [
        "params",
        "prefect",
        "mlflow",
    ]
    assert "gamma_max" in found["params"]["text"]
    assert "does not answer" in found["prefect"]["text"]
    assert "unset MLFLOW_TRACKING_URI" in found["mlflow"]["remedy"]
    assert found["packages"]["status"] == "ok"


def test_no_project_is_a_finding_too(tmp_path: Path) -> None:
    ended = Project(tmp_path, tmp_path).adasde("doctor", code=1)
    assert "ok      python" in ended.stdout
    assert "failed  project   " in ended.stdout and "--project" in ended.stdout
