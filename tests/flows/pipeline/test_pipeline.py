"""The flow on DVC's real graph with toy commands, through the command line, as a user runs it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from projects import Project, with_prefect
from waiting import processes_in

from flows.system.locks import project_lock

pytestmark = pytest.mark.integration

COUNT = 14
FIRST = {"fetch", "plan", "reference", "baselines@3", "baselines@5", "teacher@custom-3", "teacher@custom-5"}


def names(summary: dict, outcome: str) -> set[str]:
    return {stage for stage, how in summary["stages"].items() if how == outcome}


def prefect(project: Project, query: str) -> list[tuple]:
    with closing(sqlite3.connect(project.root / ".prefect/prefect.db")) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def first(make_toy) -> Iterator[tuple[Project, dict]]:
    """A project after its first run, beside a Prefect server for the later ones, and that run's summary."""
    project = make_toy()
    shutil.copy(project.root / "params.yaml", project.home.parent)
    summary = project.run()
    with with_prefect(project) as served:
        yield served, summary


@pytest.fixture(scope="module")
def client(first: tuple[Project, dict]):
    from mlflow import MlflowClient

    uri = f"sqlite:///{first[0].root}/mlflow.db"
    return MlflowClient(uri, registry_uri=uri)


def runs(client) -> list:
    (experiment,) = [e for e in client.search_experiments() if e.name == "adasde-digits"]
    return client.search_runs([experiment.experiment_id])


def test_first_run_runs_everything(first) -> None:
    _, summary = first
    assert len(names(summary, "ran")) == len(summary["stages"]) == COUNT
    assert [run["new"] for run in summary["runs"]] == [True, True]


def test_runs_have_all_that_made_them(first, client) -> None:
    project, summary = first
    run = client.get_run(summary["runs"][0]["run_id"])
    assert run.data.metrics.keys() == {
        "fid",
        "fid_spread",
        "fid_by_seed_range",
        "kid",
        "kid_spread",
        "precision",
        "precision_spread",
        "recall",
        "recall_spread",
        "wall_seconds",
        "fid/DDIM-Euler",
        "fid/DPM-Solverpp-2M-AFS",
        "loss/node_1",
        "loss/node_2",
    }
    assert run.info.run_name.startswith("digits nfe3 adasde FID ")
    assert (run.data.tags["solver"], run.data.params["nfe"]) == ("adasde", "3")
    assert [m.value for m in client.get_metric_history(run.info.run_id, "loss/node_1")] == [3.0, 1.5]
    assert len(client.get_metric_history(run.info.run_id, "fid_by_seed_range")) == 3
    assert run.data.params["teacher.trajectories"] == "48"
    tags = run.data.tags
    assert tags["prefect_flow_run_id"].replace("-", "") == prefect(project, "SELECT id FROM flow_run")[0][
        0
    ].replace("-", "")
    assert tags["protocol_hash"] == "f" * 64
    assert len(tags["dvc_lock_md5"]) == len(tags["md5/data/distill/nfe3/custom/coefficients.json"]) == 32
    files = {
        f.path
        for folder in ("coefficients", "distill", "report", "setup")
        for f in client.list_artifacts(run.info.run_id, folder)
    }
    assert files >= {
        "coefficients/MLmodel",
        "coefficients/coefficients.json",
        "distill/loss.csv",
        "report/fid.png",
        "report/samples-nfe3.png",
        *(f"setup/{name}" for name in ("params.yaml", "dvc.yaml", "dvc.lock", "requirements.lock")),
        "setup/machine.json",
    }
    assert tags["machine/threads"] == "1"
    assert tags["packages_match"] in ("true", "false") and len(tags["requirements_sha256"]) == 64
    assert "git_commit" not in tags, "this project is not in git"
    assert "report/samples-nfe5.png" not in files


def test_coefficients_are_registered_and_can_be_downloaded(first, client) -> None:
    project, summary = first
    version = client.get_model_version_by_alias("adasde-digits-nfe5", "challenger")
    assert str(version.version) == summary["runs"][1]["version"]
    mean = summary["results"]["rows"]["AdaSDE"]["5"]["fid"]["mean"]
    assert float(version.tags["fid"]) == pytest.approx(mean, rel=1e-5)
    mlflow = [
        sys.executable,
        "-m",
        "mlflow",
        "artifacts",
        "download",
        "--dst-path",
        str(project.home / "got"),
    ]
    uri = "models:/adasde-digits-nfe5@challenger"
    subprocess.run(
        [*mlflow, "--artifact-uri", uri],
        cwd=project.root,
        env=project.environment() | {"DO_NOT_TRACK": "true", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        check=True,
        timeout=300,
    )
    (got,) = (project.home / "got").rglob("coefficients.json")
    assert got.read_bytes() == (project.root / "data/distill/nfe5/custom/coefficients.json").read_bytes()
    shutil.rmtree(project.home / "got")


def test_prefect_shows_stages_logs_and_artifacts(first) -> None:
    project, _ = first
    shown = {name for (name,) in prefect(project, "SELECT name FROM task_run")}
    assert shown >= {"fetch", "distill@custom-3", "distill@custom-5", "report", "track"}
    assert prefect(project, "SELECT message FROM log WHERE message = 'hello from distill@custom-5'")
    artifacts = dict(prefect(project, "SELECT key, data FROM artifact WHERE key IS NOT NULL"))
    assert "**" in artifacts["results"] and "| AdaSDE |" in artifacts["results"]
    assert "data:image/png;base64," in artifacts["fid"]
    assert artifacts["progress-distill-custom-3"] == 100


def test_nothing_is_left_outside_the_project(first) -> None:
    project, _ = first
    left = [path for path in project.home.rglob("*") if path.is_file()]
    assert left == []
    assert sorted(path.name for path in project.home.parent.iterdir()) == ["a project", "home", "params.yaml"]


def test_rerun_with_nothing_changed_runs_and_logs_nothing(first, client) -> None:
    project, before = first
    count = len(runs(client))
    summary = project.run()
    assert len(names(summary, "unchanged")) == COUNT
    assert [run["new"] for run in summary["runs"]] == [False, False]
    assert [run["run_id"] for run in summary["runs"]] == [run["run_id"] for run in before["runs"]]
    assert len(runs(client)) == count
    states = prefect(project, "SELECT state_name FROM task_run ORDER BY created DESC LIMIT 16")
    assert sum(state == "Cached" for (state,) in states) == COUNT


def test_changed_distill_param_runs_distill_and_what_follows(first, client) -> None:
    project, _ = first
    project.params("distill", "lr", value=0.07)
    summary = project.run()
    assert names(summary, "unchanged") == FIRST - {"plan"}
    assert [run["new"] for run in summary["runs"]] == [True, True]
    version = client.get_model_version_by_alias("adasde-digits-nfe3", "challenger")
    assert (str(version.version), version.run_id) == ("2", summary["runs"][0]["run_id"])
    assert client.get_run(version.run_id).info.run_name.startswith("digits nfe3 adasde lr=0.07 FID ")


def test_after_ctrl_c_and_after_a_failure_the_next_run_carries_on(first) -> None:
    project, _ = first
    project.params("teacher", "inserted", value=2)
    lock = entry(project, "teacher@custom-5")
    (project.root / "SLOW").write_text("teacher@custom-5")
    interrupted(project)
    assert entry(project, "teacher@custom-5") == lock
    assert prefect(project, "SELECT state_name FROM flow_run ORDER BY created DESC LIMIT 1") == [("Crashed",)]
    (project.root / "SLOW").unlink()
    (project.root / "FAIL").write_text("sample@custom-3")
    failed(project)
    assert entry(project, "teacher@custom-5") != lock
    (project.root / "FAIL").unlink()
    summary = project.run()
    assert names(summary, "ran") == {"sample@custom-3", "evaluate@3", "report"}


def interrupted(project: Project) -> None:
    """Press Ctrl-C as a terminal does once the slow stage runs; the run must end well."""
    process = project.start("run")
    deadline = time.monotonic() + 300
    while not (project.root / "STARTED").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "error: interrupted. Nothing was left half-written" in err
    assert "Traceback" not in err
    assert processes_in(project.root) == []


def failed(project: Project) -> None:
    """Run with a failing stage; the reason must be told."""
    ended = project.adasde("run", code=1)
    assert "error: stage sample@custom-3 failed. Its last lines:" in ended.stderr
    assert "the reason why sample@custom-3 fails" in ended.stderr
    assert "Traceback" not in ended.stderr


def entry(project: Project, stage: str) -> dict:
    return yaml.safe_load((project.root / "dvc.lock").read_text())["stages"][stage]


def test_wrong_params_are_refused_before_anything_runs(first) -> None:
    project, _ = first
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(text.replace("gamma_max", "gama_max"))
    ended = project.adasde("run", code=1)
    (project.root / "params.yaml").write_text(text)
    assert "gama_max" in ended.stderr and "gamma_max" in ended.stderr
    assert "started" not in ended.stderr


def test_two_runs_do_not_share_a_project(first) -> None:
    project, _ = first
    with project_lock(project.root, "run"):
        ended = project.adasde("run", code=1)
    assert f"another run is working in {project.root} (process {os.getpid()})" in ended.stderr
    assert "Wait until it has ended" in ended.stderr


def test_earlier_outputs_find_their_run_again_also_where_the_project_moved(first, tmp_path: Path) -> None:
    project, before = first
    shutil.copy(project.home.parent / "params.yaml", project.root)
    moved = Project(tmp_path / "elsewhere", project.home)
    project.server.terminate()
    project.server.wait()
    shutil.move(project.root, moved.root)
    summary = moved.run()
    assert [run["run_id"] for run in summary["runs"]] == [run["run_id"] for run in before["runs"]]
    assert [run["version"] for run in summary["runs"]] == ["1", "1"]
    with closing(sqlite3.connect(moved.root / "mlflow.db")) as connection:
        places = [place for (place,) in connection.execute("SELECT artifact_uri FROM runs")]
        aliases = dict(connection.execute("SELECT name, version FROM registered_model_aliases"))
    assert all(place.startswith(f"file://{moved.root}/mlruns/") for place in places)
    assert aliases == {"adasde-digits-nfe3": 1, "adasde-digits-nfe5": 1}


def test_no_project_here(tmp_path: Path) -> None:
    ended = Project(tmp_path, tmp_path).adasde("run", code=1)
    assert "is not inside a project" in ended.stderr
