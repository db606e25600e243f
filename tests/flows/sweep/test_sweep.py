"""`adasde sweep` on DVC's real graph with toy commands: killed, failing, carried on, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import Project, with_prefect
from waiting import eventually

pytestmark = pytest.mark.integration

GRID = ("sweep", "--json", "--set", "distill.lr=0.05,0.07", "--set", "nfe=5")
GOOD, BAD = "lr=0.05 nfe=5", "lr=0.07 nfe=5"


def workspaces(project: Project) -> dict[str, Path]:
    found = (project.root / ".cache/sweeps").glob("*/*=*")
    return {path.name: path for path in found}


def workers(project: Project) -> list[str]:
    """The commands of processes that work in a workspace."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if ".cache/sweeps" in str(link.resolve()) and str(project.root) in str(link.resolve()):
                found.append(link.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def told(project: Project, name: str, words: str | None) -> None:
    """Make the toy FAIL or SLOW, by a file that workspaces do not copy; None ends that."""
    path = project.root.parent / name
    path.unlink(missing_ok=True)
    if words:
        path.write_text(words)


@pytest.fixture(scope="module")
def project(make_toy) -> Iterator[Project]:
    """A project in which nothing has run, beside a Prefect server."""
    with with_prefect(make_toy()) as served:
        yield served


@pytest.fixture(scope="module")
def before(project: Project) -> dict[str, bytes]:
    """The project's own files."""
    return {path.name: path.read_bytes() for path in project.root.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def killed(project: Project, before) -> dict[str, Any]:
    """Kill the sweep in the middle of the second trial; what the first had done by then."""
    told(project, "SLOW", "distill@custom-5 0.07")
    process = project.start(*GRID)
    try:
        eventually(lambda: "lr=0.07_nfe=5" in workspaces(project) or process.poll() is not None)
        eventually((workspaces(project)["lr=0.07_nfe=5"] / "STARTED").exists)
        first = workspaces(project)["lr=0.07_nfe=5"].with_name("lr=0.05_nfe=5")  # it may begin later
        eventually(lambda: "report" in stages_of(first))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        told(project, "SLOW", None)
    eventually(lambda: not workers(project), 60)
    return stages_of(workspaces(project)["lr=0.05_nfe=5"])


@pytest.fixture(scope="module")
def failed(project: Project, killed) -> tuple[dict[str, Any], str]:
    """The same sweep again, with a trial that fails; what it printed."""
    told(project, "FAIL", "evaluate@5 0.07")
    ended = project.adasde(*GRID, code=1)
    told(project, "FAIL", None)
    return json.loads(ended.stdout), ended.stderr


@pytest.fixture(scope="module")
def finished(project: Project, failed) -> tuple[dict[str, Any], str]:
    """And again, when the cause is mended."""
    ended = project.adasde(*GRID)
    return json.loads(ended.stdout), ended.stderr


@pytest.fixture(scope="module")
def client(project: Project):
    from mlflow import MlflowClient

    uri = f"sqlite:///{project.root}/mlflow.db"
    return MlflowClient(uri, registry_uri=uri)


def stages_of(folder: Path) -> dict[str, Any]:
    lock = folder / "dvc.lock"
    return (yaml.safe_load(lock.read_text()) or {}).get("stages", {}) if lock.is_file() else {}


def runs(client) -> list[Any]:
    (experiment,) = [e for e in client.search_experiments() if e.name == "adasde-digits"]
    return client.search_runs([experiment.experiment_id])


def test_a_failing_trial_does_not_stop_the_others(failed) -> None:
    summary, err = failed
    assert [score["trial"] for score in summary["scores"]] == [GOOD]
    assert list(summary["failures"]) == [BAD]
    assert summary["best"]["5"]["trial"] == GOOD
    assert f"error: 1 of 2 trials failed: {BAD}." in err
    assert "the reason why evaluate@5 fails" in err
    assert "the same command runs again only what is missing" in err
    assert "Traceback" not in err


def test_after_kill_9_and_a_failure_only_what_is_missing_runs(project, killed, failed, finished) -> None:
    _, err = failed
    # killed just after its last stage: its run in MLflow may be there already or not
    assert f"{GOOD}: 9 of 9 stages are unchanged" in err or f"{GOOD}: done before" in err
    assert f"{BAD}: distill@custom-5: ran" in err
    assert stages_of(workspaces(project)["lr=0.05_nfe=5"]) == killed
    summary, err = finished
    assert f"{GOOD}: done before" in err
    assert f"{BAD}: 7 of 9 stages are unchanged" in err
    assert {score["trial"] for score in summary["scores"]} == {GOOD, BAD}
    assert summary["failures"] == {}


def test_the_same_sweep_once_more_does_nothing_new(project, finished, client) -> None:
    count = len(runs(client))
    ended = project.adasde(*GRID)
    assert "started" not in ended.stderr
    summary = json.loads(ended.stdout)
    assert summary["best"] == finished[0]["best"]
    assert summary["run_id"] == finished[0]["run_id"]
    assert len(runs(client)) == count


def test_trials_are_isolated_and_the_project_keeps_its_files(project, before, finished) -> None:
    after = {name: (project.root / name).read_bytes() for name in before}
    assert after == before
    rates = {
        name: yaml.safe_load((path / "params.yaml").read_text()) for name, path in workspaces(project).items()
    }
    assert {name: (values["distill"]["lr"], values["nfe"]) for name, values in rates.items()} == {
        "lr=0.05_nfe=5": (0.05, [5]),
        "lr=0.07_nfe=5": (0.07, [5]),
    }
    made = {
        path: (path / "data/distill/nfe5/custom/coefficients.json").read_bytes()
        for path in workspaces(project).values()
    }
    assert len(set(made.values())) == 2
    assert [path for path in project.home.rglob("*") if path.is_file()] == []


def test_what_all_share_ran_once_in_the_project(project, failed, finished) -> None:
    assert set(stages_of(project.root)) == {
        "fetch", "plan", "reference", "baselines@5", "teacher@custom-5"
    }  # fmt: skip
    assert not (project.root / "data/distill").exists()
    for _, err in (failed, finished):
        assert "shared: 5 of 5 stages are unchanged" in err
    for folder in workspaces(project).values():
        shared = stages_of(project.root)
        del shared["plan"]  # it has the values of the trial
        assert shared.items() <= stages_of(folder).items()


def test_parent_and_child_runs_show_the_sweep(finished, client) -> None:
    summary, _ = finished
    parent = client.get_run(summary["run_id"])
    assert parent.info.run_name == "sweep distill.lr × nfe"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"distill.lr": "0.05, 0.07", "nfe": "5"}
    best = summary["best"]["5"]
    scores = {score["trial"]: score["metrics"]["fid"] for score in summary["scores"]}
    assert parent.data.metrics == {"best_fid_nfe5": min(scores.values())}
    assert parent.data.tags["best/nfe5"] == best["trial"] == min(scores, key=scores.__getitem__)
    note = parent.data.tags["mlflow.note.content"]
    assert note.index(f"| {best['trial']} | **") < note.index(f"| {max(scores, key=scores.__getitem__)} |")
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"sweep.png", "trials.json"}
    children = [run for run in runs(client) if "mlflow.parentRunId" in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.run_name.split(" FID ")[0] for run in children} == {GOOD, BAD}
    assert {run.data.tags["sweep"] for run in [parent, *children]} == {summary["id"]}
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {float(run.data.params["distill.lr"]) for run in children} == {0.05, 0.07}


def test_the_best_is_registered_but_no_challenger(project, finished, client) -> None:
    best = finished[0]["best"]["5"]
    version = client.get_model_version("adasde-digits-nfe5", best["version"])
    assert version.run_id == best["run_id"]
    assert version.tags["settings"] == best["trial"]
    assert client.get_registered_model("adasde-digits-nfe5").aliases == {}
    words = (*GRID, "--challenger")
    project.adasde(*words)
    assert client.get_registered_model("adasde-digits-nfe5").aliases == {"challenger": int(best["version"])}


def test_prefect_shows_a_sub_flow_for_every_trial(project, finished) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(project.root / ".prefect/prefect.db")) as connection:
        rows = connection.execute(
            "SELECT name, state_name FROM flow_run WHERE parent_task_run_id IS NOT NULL"
        ).fetchall()
    assert {(GOOD, "Completed"), (BAD, "Failed"), (BAD, "Completed")} <= set(rows)


@pytest.mark.long
def test_a_plain_run_does_not_take_a_trial_for_its_own(project, finished, client) -> None:
    """Its outputs at 5 evaluations are those of the trial with the base settings."""
    summary = project.run()
    run = client.get_run(summary["runs"][1]["run_id"])
    assert "sweep" not in run.data.tags
    assert run.info.run_name.startswith("digits nfe5 adasde")


@pytest.mark.long
def test_budgets_that_the_project_has_not_share_too(project, finished, client) -> None:
    ended = project.adasde("sweep", "--set", "distill.lr=0.05,0.06", "--set", "nfe=7")
    assert ended.stderr.count("teacher@custom-7: ran") == 1
    assert "shared: teacher@custom-7: ran" in ended.stderr
    assert "lr=0.06 nfe=7: 3 of 9 stages are unchanged" in ended.stderr
    assert "promote it with: adasde promote digits --nfe 7 --candidate 1" in ended.stdout
    assert "teacher@custom-7" not in stages_of(project.root)


@pytest.mark.long
def test_ctrl_c_ends_everything_and_leaves_a_parent_that_is_not_running(project, finished, client) -> None:
    told(project, "SLOW", "distill@custom-5 0.08")
    process = project.start("sweep", "--set", "distill.lr=0.08,0.09", "--set", "nfe=5")
    eventually(lambda: list((project.root / ".cache/sweeps").glob("*/lr=0.08_nfe=5/STARTED")))
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    finally:
        told(project, "SLOW", None)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    time.sleep(1)
    assert workers(project) == []
    parents = [run for run in runs(client) if run.data.tags.get("kind") == "sweep"]
    assert "KILLED" in {run.info.status for run in parents}
    assert "RUNNING" not in {run.info.status for run in parents}
