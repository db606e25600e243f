"""`adasde reproduce` on a run of the toy project, made from files that nobody had committed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import Project
from repositories import git, under_git

from adasde.errors import AdaSDEError
from flows.reproduce import reproduce, source_run
from flows.reproduce.checkout import Place
from flows.reproduce.compare import compare
from flows.system.locks import BusyError, project_lock
from flows.tracking.provenance import machine

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Made:
    """A project after a run, the run, and what a first `adasde reproduce` of it said."""

    project: Project
    run_id: str
    said: str
    again: dict[str, Any]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.project.root}/mlflow.db"

    @property
    def folder(self) -> Path:
        return self.project.root / ".cache/reproduce" / self.run_id

    def artifact(self, name: str) -> Path:
        """A file of the run."""
        (path,) = (self.project.root / "mlruns").rglob(f"{self.run_id}/artifacts/setup/{name}")
        return path


@pytest.fixture(scope="module")
def made(make_toy) -> Made:
    project: Project = make_toy()
    under_git(project.root)
    project.params("nfe", value=[3])  # from here on nothing is committed
    toy = project.root / "toy.py"
    toy.write_text(toy.read_text().replace("row(0.2 + noise", "row(0.3 + noise"))
    (project.root / "not tracked.txt").write_text("new")
    (summary,) = project.run()["runs"]
    git(project.root, "stash", "--include-untracked")  # another experiment goes on
    shutil.copy(project.root / "params.yaml", project.home.parent)
    before = state(project)
    ended = project.adasde("reproduce", summary["run_id"], "--json")
    assert state(project) == before, "the project itself is as it was"
    return Made(project, summary["run_id"], ended.stderr, json.loads(ended.stdout))


def state(project: Project) -> tuple[object, ...]:
    """Of the project itself: git's status, the number of MLflow's runs, the objects of its cache."""
    with closing(sqlite3.connect(project.root / "mlflow.db")) as connection:
        runs = connection.execute("SELECT count(*) FROM runs").fetchone()
    objects = sorted(path.name for path in (project.root / ".dvc/cache").rglob("*"))
    return git(project.root, "status", "--porcelain"), runs, objects


def test_a_run_from_uncommitted_files_is_made_again_byte_by_byte(made: Made) -> None:
    assert made.again["identical"]
    assert made.again["run_id"] == made.run_id
    assert Path(made.again["folder"]) == made.folder
    states = {one["path"]: one["state"] for outs in made.again["stages"].values() for one in outs}
    for name in ("custom", "baselines"):
        assert states.pop(f"data/samples/nfe3.{name}.timing.json") == "not judged"
    assert set(states.values()) == {"identical"}
    assert {"data/checkpoint", "data/distill/nfe3/custom/coefficients.json", "report"} <= states.keys()
    assert {one["difference"] for one in made.again["metrics"]} == {0.0}
    assert {"fid", "fid/DDIM-Euler", "precision_spread"} <= {one["name"] for one in made.again["metrics"]}
    assert (made.folder / "not tracked.txt").read_text() == "new"
    assert "row(0.3 + noise" in (made.folder / "toy.py").read_text()


def test_the_stages_really_run_and_show_their_progress(made: Made) -> None:
    assert "the inputs are from the project's cache" in made.said
    for stage in (
        "reference",
        "teacher@custom-3",
        "distill@custom-3",
        "sample@custom-3",
        "evaluate@3",
        "report",
    ):
        assert f"{stage}: ran (" in made.said
    assert "fetch: ran" not in made.said
    with closing(sqlite3.connect(made.folder / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert (made.folder / ".prefect/prefect.db").is_file()


def test_what_differs_is_said_stage_by_stage_and_by_how_much(made: Made) -> None:
    """The record is altered, and the same command carries on in the same folder."""
    lock = made.artifact("dvc.lock")
    values = yaml.safe_load(lock.read_text())
    values["stages"]["evaluate@3"]["outs"][0]["md5"] = "0" * 32
    lock.write_text(yaml.safe_dump(values))
    made.artifact("requirements.lock").write_text("pytest==0.1\n")
    facts = made.artifact("machine.json")
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"cpu": "another processor"}))
    with closing(sqlite3.connect(made.project.root / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE latest_metrics SET value = value + 0.125 WHERE key = 'fid'")
    ended = made.project.adasde("reproduce", made.run_id, code=1)
    assert f"carrying on in {made.folder}" in ended.stderr
    assert "of 9 stages are unchanged" in ended.stderr
    assert "Traceback" not in ended.stderr
    told = ended.stderr.strip().splitlines()[-1]
    assert told.startswith(f"error: run {made.run_id} was not reproduced: 10 of 11 compared outputs")
    assert "The first stage that differs is evaluate@3 (data/metrics/nfe3.json)" in told
    assert "fid differs most, by -0.125" in told
    version = machine.installed("pytest")
    packages = f"installed packages differ from the run's requirements.lock: pytest {version} instead of 0.1"
    for warning in (packages, f"cpu of the machine: another processor then, {machine.facts()['cpu']} now"):
        assert warning in told and f"warning: {warning}" in ended.stdout
    assert "data/metrics/nfe3.json differs: 00000000 then" in " ".join(ended.stdout.replace("│", " ").split())
    assert f"git worktree remove --force {made.folder}" in ended.stdout


def test_no_such_run(made: Made) -> None:
    ended = made.project.adasde("reproduce", "0" * 32, code=1)
    assert f"error: MLflow at {made.uri} has no run {'0' * 32}." in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("run_id", ["not/an id", "x" * 40])
def test_what_cannot_be_the_id_of_a_run(made: Made, tmp_path: Path, run_id: str) -> None:
    with pytest.raises(AdaSDEError, match=r"has no run .* MLFLOW_TRACKING_URI chooses another"):
        source_run.find(made.uri, run_id, tmp_path)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"nfe": "3"}, "was made outside git"),
        ({"nfe": "3", "git_commit": "c" * 40}, r"has no setup/dvc\.lock among its files"),
        ({"git_commit": "c" * 40}, r"no run of `adasde run`"),
    ],
)
def test_runs_that_do_not_carry_what_made_them(
    made: Made, tmp_path: Path, tags: dict[str, str], reason: str
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(made.uri)
    run = client.create_run(client.get_run(made.run_id).info.experiment_id, tags=tags)
    with pytest.raises(AdaSDEError, match=reason):
        source_run.find(made.uri, run.info.run_id, tmp_path)


def test_a_run_of_older_code_is_warned_of(made: Made, tmp_path: Path) -> None:
    run = source_run.find(made.uri, made.run_id, tmp_path)
    for name in ("machine.json", "requirements.lock"):
        (run.setup / name).unlink()
    run.tags.update({"git_left_out": "a.bin\nb.bin", "packages_other": "torch 1 instead of 2"})  # type: ignore[attr-defined]
    told = "\n".join(reproduce.what_differs(run))
    assert "the run has no requirements.lock" in told
    assert "does not say on which machine" in told
    assert "too large to record are not restored: a.bin, b.bin" in told
    assert "made with other packages than its lock: torch 1 instead of 2" in told


def test_the_folder_has_an_environment_of_its_own(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "DVC_SITE_CACHE_DIR", "ADASDE_STORAGE_URL"):
        monkeypatch.setenv(name, "the project's")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run = source_run.find(made.uri, made.run_id, tmp_path)
    values = reproduce.environment_of(tmp_path, run)
    assert "the project's" not in values.values()
    assert values["OMP_NUM_THREADS"] == "1", "as the run had it"
    assert values["PYTHONPATH"].startswith(str(tmp_path))


def test_two_do_not_share_a_folder(made: Made) -> None:
    lock = project_lock(made.project.root, "reproduce", key=made.run_id)
    with lock, pytest.raises(BusyError, match="already"):
        reproduce.reproduce(made.project.root, made.run_id, out=None, say=print)


def test_a_pipeline_that_fails_says_where(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path, tmp_path, os.environ)
    with pytest.raises(AdaSDEError, match=r"the pipeline failed in .* \(exit code 1\).*same command again"):
        reproduce.run_pipeline(place)
    assert "is not inside a project" in capfd.readouterr().err


def test_a_stage_that_is_not_deterministic_is_called_so() -> None:
    found = compare(
        {"teacher@custom-3": {"x": "1"}}, {"teacher@custom-3": {"x": "2"}}, metrics={}, measured={}
    )
    done = reproduce.Reproduction("run", "c" * 40, Path("/folder"), (), found)
    with pytest.raises(
        AdaSDEError, match=r"teacher@custom-3 \(x\); its metrics are the same.*not deterministic"
    ):
        done.require_identical()


def test_code_that_was_changed_meanwhile_is_named(tmp_path: Path) -> None:
    for name, md5 in (("then", "1"), ("now", "2")):
        (tmp_path / name).mkdir()
        deps = [{"path": "code.py", "md5": md5}, {"path": "data/x", "md5": md5}]
        stages = {"a": {"outs": [{"path": "data/x/y", "md5": md5}]}, "b": {"deps": deps}}
        (tmp_path / name / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    (told,) = reproduce._other_code(tmp_path / "then", tmp_path / "now")
    assert told.startswith("code.py is not the one that b ran with")
