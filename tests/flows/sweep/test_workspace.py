"""Which files a trial gets, what it shares, and when it is the same sweep."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from projects import ROOT, Project

from adasde.errors import DataError
from flows.dvc.prepare import prepare_dvc
from flows.sweep.grid import make_trials
from flows.sweep.plan import Plan, make_plan
from flows.sweep.workspace import Workspace, project_files
from flows.system.subprocesses import Crew

FILES = (
    "dvc.yaml",
    "params.yaml",
    "dvc.lock",
    "code/a.py",
    "code/new.py",
    "code/__pycache__/a.pyc",
    "notes.tmp",
    "data/checkpoint/x",
    "data/own.csv",
    "mlflow.db",
    "mlflow.db-wal",
    "mlruns/1/x",
    ".cache/x",
    ".dvc/config",
    ".dvc/config.local",
    ".dvc/cache/x",
    ".venv/x",
)


@pytest.fixture(params=["git", "plain"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.tmp\n__pycache__/\n")
    if request.param == "git":
        for words in (["init", "--quiet"], ["add", "dvc.yaml", "code/a.py", "gone"]):
            (tmp_path / "gone").write_text("")
            subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
        (tmp_path / "gone").unlink()
    return tmp_path


def test_the_projects_files_are_those_of_git_or_not_ignored(folder: Path) -> None:
    wanted = [".dvc/config", ".gitignore", "code/a.py", "code/new.py", "data/own.csv", "dvc.yaml"]
    assert project_files(folder, ("data/checkpoint",)) == wanted


def test_code_of_the_workspace_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = Workspace(folder, folder / "w", ())
    assert place.environment()["PYTHONPATH"] == "/elsewhere"
    (folder / "w/adasde").mkdir(parents=True)
    assert place.environment()["PYTHONPATH"] == f"{folder / 'w'}{os.pathsep}/elsewhere"
    assert place.environment()["MLFLOW_TRACKING_URI"].endswith(f"{folder}/mlflow.db")


def test_a_disk_that_takes_no_more_is_explained(folder: Path) -> None:
    (folder / "w").write_text("a file where the folder belongs")
    with pytest.raises(DataError, match=r"cannot copy the project into .*w: .* start the same sweep again"):
        Workspace(folder, folder / "w", ()).prepare({}, crew=Crew(1), lock=folder / "no.lock")


@pytest.fixture(scope="module")
def project(make_toy: Callable[[], Project]) -> Project:
    made = make_toy()
    prepare_dvc(made.root)
    return made


def plan(project: Project, **settings: list) -> Plan:
    return make_plan(project.root, {key.replace("__", "."): value for key, value in settings.items()})


def test_a_sweep_is_the_same_while_trials_params_and_code_are(project: Project) -> None:
    first = plan(project, distill__lr=[0.05, 0.1])
    assert plan(project, distill__lr=[0.1, 0.05]).id == first.id
    assert plan(project, distill__lr=[0.1]).id != first.id
    project.params("promotion", "margin", value=0.5)
    assert plan(project, distill__lr=[0.05, 0.1]).id == first.id, "no trial depends on it"
    project.params("seed", value=1)
    assert plan(project, distill__lr=[0.05, 0.1]).id != first.id
    project.params("seed", value=0)
    text = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(f"{text}\n")
    changed = plan(project, distill__lr=[0.05, 0.1]).id
    (project.root / "dvc.yaml").write_text(text)
    assert changed != first.id


OWN = {"students": ["mine"], "recipes": {"mine": {"recipe": "multistep", "distill": {"lr": 0.02}}}}


@pytest.mark.parametrize(
    ("before", "after", "settings"),
    [
        (OWN, {"recipes": {"mine": {"recipe": "multistep", "distill": {"lr": 0.04}}}}, {"recipe": ["mine"]}),
        ({"students": ["paper"]}, {"students": ["multistep"]}, {"distill.lr": [0.02, 0.04]}),
        ({"students": ["paper"]}, {"distill": {"lr": 0.05}}, {"distill.batch": [32, 64]}),
    ],
)
def test_a_sweep_of_other_recipes_is_another(
    before: dict, after: dict, settings: dict, project: Project
) -> None:
    ids = []
    for changes in (before, before | after):
        base = {"model": "digits", "nfe": [3], **changes}
        ids.append(Plan(project.root, settings, base, tuple(make_trials(base, settings)), {}).id)
    assert ids[0] != ids[1]


def test_what_trials_share(project: Project) -> None:
    assert plan(project, distill__lr=[0.1], nfe=[5]).shared() == {
        "fetch", "plan", "reference", "baselines@5", "teacher@custom-5"
    }  # fmt: skip
    both = plan(project, **{"baselines.Heun + AFS.rho": [5.0, 7.0]})
    assert {"reference", "teacher@custom-3", "distill@custom-5"} <= both.shared()
    assert "sample@custom-3" in both.shared() and not {"baselines@3", "report"} & both.shared()
    judged = plan(project, sample__batch=[5, 10]).shared()
    assert "teacher@custom-3" in judged and not {"reference", "distill@custom-5"} & judged, (
        "distill sees the real images"
    )
    assert (both.missing(), plan(project, nfe=[5, [3, 7]]).missing()) == ([], [7])
    assert plan(project, distill__lr=[0.1], nfe=[7]).shared_values()["nfe"] == [7]


def test_prefect_yaml_knows_the_flow() -> None:
    from flows.sweep.flow import as_settings, sweep

    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (deployment,) = [one for one in document["deployments"] if one["name"] == "sweep"]
    assert deployment["entrypoint"] == "flows.sweep.flow.sweep"
    assert set(deployment["parameters"]) <= set(sweep.parameters.properties)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    trials = make_trials(values, as_settings(deployment["parameters"]["settings"]))
    assert [trial.name for trial in trials] == ["lr=0.02 nfe=5", "lr=0.05 nfe=5", "lr=0.1 nfe=5"]
