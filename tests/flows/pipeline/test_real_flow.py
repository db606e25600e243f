"""The flow with the real stages on a tiny params.yaml, in a git work tree; then DVC's own commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import tree
from projects import ROOT, Project, make_project
from repositories import under_git
from stopping import Stopping

from flows.dvc.graph import output_hashes

pytestmark = pytest.mark.long


def call(project: Project, *command: str) -> str:
    environment = project.environment() | {"DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=project.root, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def dvc(project: Project, *words: str) -> str:
    return call(project, sys.executable, "-m", "dvc", *words)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict]:
    project = real_project(tmp_path_factory.mktemp("real"))
    return project, project.run()


def real_project(folder: Path) -> Project:
    """With the real stages, tiny params, under git; nothing has run."""
    project = make_project(folder, nfe=[3])
    shutil.copytree(ROOT / "adasde", project.root / "adasde", ignore=shutil.ignore_patterns("__pycache__"))
    under_git(project.root)
    return project


FILES = {"fetch": 1, "reference": 1, "teacher": 2, "distill": 1, "sample": 2, "evaluate": 1, "report": 3}
"""Every stage, and before which of its files it is killed: the first is written, the others are there."""


def test_a_run_killed_in_every_stage_in_turn_ends_with_the_same_bytes(
    finished: tuple[Project, dict], tmp_path: Path
) -> None:
    whole = finished[0]
    made = real_project(tmp_path)
    project = Stopping(made.root, made.home)
    project.prepare()
    left = dict(FILES)
    while left:
        stopped, said = project.kill_in(left)
        assert "failed (" not in said and "Traceback" not in said, said
        temporary = [path for folder in ("data", "report") for path in (project.root / folder).rglob("*.tmp")]
        assert temporary, f"killed while {stopped} wrote"
        for stage in stopped:
            del left[stage]
    summary = project.run()
    assert summary["stages"]["evaluate@3"] == "unchanged", "whole before the last kill"
    assert summary["stages"]["report"] == "ran"
    for folder in ("data", "report"):
        assert tree(project.root / folder) == tree(whole.root / folder)
    now, then = output_hashes(project.root), output_hashes(whole.root)
    for stage, name in (("sample@custom-3", "custom"), ("baselines@3", "baselines")):
        for hashes in (now, then):
            del hashes[stage][f"data/samples/nfe3.{name}.timing.json"]
    assert now == then
    assert call(project, "git", "status", "--porcelain").split("\n") == ["?? dvc.lock", ""]


def test_every_stage_ran_and_the_report_is_there(finished: tuple[Project, dict]) -> None:
    project, summary = finished
    assert set(summary["stages"].values()) == {"ran"}
    assert len(summary["stages"]) == 9
    labels = summary["results"]["rows"]
    assert all("3" in labels[label] for label in ("AdaSDE", "DDIM (Euler)", "Heun + AFS"))
    assert "data:image/png;base64" in (project.root / "report/index.html").read_text()


def test_the_run_knows_its_commit(finished: tuple[Project, dict]) -> None:
    from mlflow import MlflowClient

    project, summary = finished
    client = MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    run = client.get_run(summary["runs"][0]["run_id"])
    assert run.data.tags["git_commit"] == call(project, "git", "rev-parse", "HEAD").strip()
    assert run.data.tags["git_dirty"] == "false"
    assert run.data.tags["protocol_hash"] == summary["results"]["protocol_hash"]
    assert client.get_metric_history(run.info.run_id, "loss/node_1")


def test_only_the_lock_is_new_and_nothing_is_outside(finished: tuple[Project, dict]) -> None:
    project, _ = finished
    assert call(project, "git", "status", "--porcelain").split("\n") == ["?? dvc.lock", ""]
    assert [path for path in project.home.rglob("*") if path.is_file()] == []


def test_the_run_is_made_again_with_the_same_bytes(finished: tuple[Project, dict]) -> None:
    project, summary = finished
    ended = project.adasde("reproduce", summary["runs"][0]["run_id"], "--json")
    again = json.loads(ended.stdout)
    assert again["identical"]
    states = {one["path"]: one["state"] for outputs in again["stages"].values() for one in outputs}
    for name in ("custom", "baselines"):
        assert states.pop(f"data/samples/nfe3.{name}.timing.json") == "not judged"
    assert len(states) == 11 and set(states.values()) == {"identical"}
    assert all(metric["difference"] == 0 for metric in again["metrics"])
    assert {"fid", "fid/Heun-AFS"} <= {metric["name"] for metric in again["metrics"]}
    for stage in set(summary["stages"]) - {"fetch"}:
        assert f"{stage}: ran (" in ended.stderr
    assert call(project, "git", "status", "--porcelain").split("\n") == ["?? dvc.lock", ""]
    assert [path for path in project.home.rglob("*") if path.is_file()] == []


def test_dvc_shows_metrics_plots_and_changed_params(finished: tuple[Project, dict]) -> None:
    project, summary = finished
    assert dvc(project, "status").strip().endswith("up to date.")
    (shown,) = json.loads(dvc(project, "metrics", "show", "--json", "data/metrics/nfe3.json")).values()
    fid = shown["data"]["data/metrics/nfe3.json"]["data"]["rows"]["AdaSDE"]["fid"]["mean"]
    assert fid == summary["results"]["rows"]["AdaSDE"]["3"]["fid"]["mean"]
    page = Path(dvc(project, "plots", "show").strip().removeprefix("file://").replace("%20", " "))
    assert "fid.png" in page.read_text() and "loss.csv" in page.read_text()
    project.params("distill", "batch", value=8)
    (changed,) = json.loads(dvc(project, "params", "diff", "--json")).values()
    assert list(changed) == ["distill.batch"]
    assert (changed["distill.batch"]["old"], changed["distill.batch"]["new"]) == (16, 8)
    stages = set(json.loads(dvc(project, "status", "--json")))
    project.params("distill", "batch", value=16)
    assert stages == {"distill@custom-3"}
