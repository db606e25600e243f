"""A real MLflow server that goes away while a run is logged: what is told, and what the next run finds."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing

import pytest
from projects import Project
from waiting import eventually

from adasde.storage.resolve import local_path
from flows.servers.service import free_port
from flows.servers.up import ServiceGroup, start_mlflow

pytestmark = pytest.mark.long


class Remote(Project):
    """A project whose user has set MLFLOW_TRACKING_URI."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"MLFLOW_TRACKING_URI": (self.home / "uri").read_text()}


def rows(project: Project, query: str) -> list[tuple]:
    """From MLflow's database; none before it has its tables."""
    try:
        with closing(sqlite3.connect(project.root / "mlflow.db", timeout=60)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def test_a_lost_tracking_server_costs_nothing_but_the_tracking(make_toy) -> None:
    toy = make_toy()
    toy.params("nfe", value=[3])
    project = Remote(toy.root, toy.home)
    store, port = f"sqlite:///{toy.root / 'mlflow.db'}", free_port()
    with ServiceGroup() as services:
        (toy.home / "uri").write_text(start_mlflow(toy.root, store, port, services))
        services.wait()
        process = project.start("run")
        eventually(lambda: rows(toy, "SELECT 1 FROM runs WHERE status = 'RUNNING'"), every=0.02)
        process.send_signal(signal.SIGSTOP)  # a server takes a while to stop, in which a run can be finished
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    (told,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert told.startswith(f"error: MLflow at http://127.0.0.1:{port} failed: ")
    assert "The stages are done and kept" in told and len(told) < 400
    assert rows(toy, "SELECT status FROM runs WHERE status = 'FINISHED'") == []

    with ServiceGroup() as services:
        start_mlflow(toy.root, store, port, services)
        services.wait()
        summary = json.loads(project.adasde("run", "--json").stdout)
    assert set(summary["stages"].values()) == {"unchanged"}
    (tracked,) = summary["runs"]
    assert tracked["new"]
    assert sorted(rows(toy, "SELECT status FROM runs")) == [("FINISHED",), ("KILLED",)]
    check_that_the_database_alone_serves_as_well(toy, tracked["run_id"])


def check_that_the_database_alone_serves_as_well(toy: Project, run_id: str) -> None:
    (tracked,) = toy.run()["runs"]
    assert (tracked["new"], tracked["run_id"]) == (False, run_id)
    ((place,),) = rows(toy, f"SELECT artifact_uri FROM runs WHERE run_uuid = '{run_id}'")
    assert (local_path(place) / "coefficients/coefficients.json").is_file()
