from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.config import Config

from adasde.errors import AdaSDEError
from flows.dvc.prepare import prepare_dvc
from flows.system import environment


def test_all_state_goes_into_the_project(tmp_path: Path) -> None:
    values = environment.settings(tmp_path, {})
    places = ("PREFECT_HOME", "DVC_SITE_CACHE_DIR", "MPLCONFIGDIR", "TORCH_HOME")
    assert all(Path(values[name]).is_relative_to(tmp_path) for name in places)
    assert values["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"


def test_what_the_user_has_set_stays_but_telemetry_is_off(tmp_path: Path) -> None:
    theirs = {"MLFLOW_TRACKING_URI": "http://there", "PREFECT_HOME": "/somewhere", "DO_NOT_TRACK": "false"}
    values = environment.settings(tmp_path, theirs)
    assert values["MLFLOW_TRACKING_URI"] == "http://there"
    assert values["PREFECT_HOME"] == "/somewhere"
    assert values["DO_NOT_TRACK"] == "true"


def test_commands_of_stages_are_found_beside_the_interpreter(tmp_path: Path) -> None:
    first, *rest = environment.settings(tmp_path, {"PATH": "/usr/bin:/bin"})["PATH"].split(os.pathsep)
    assert (first, rest) == (str(Path(sys.executable).parent), ["/usr/bin", "/bin"])
    assert "PATH" not in environment.settings(tmp_path, {"PATH": f"{first}:/bin"})


def test_project_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "a/b").mkdir(parents=True)
    assert environment.find_project(tmp_path / "a/b") == tmp_path


def test_no_project_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AdaSDEError, match=r"not inside a project.*dvc\.yaml.*--project"):
        environment.find_project(tmp_path)


@pytest.mark.parametrize("with_git", [False, True])
def test_dvc_learns_whether_there_is_git(tmp_path: Path, with_git: bool) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config.local").write_text("[core]\n    remote = mine\n    no_scm = true\n")
    if with_git:
        subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    prepare_dvc(tmp_path)
    core = Config(dvc_dir=str(tmp_path / ".dvc")).load_one("local")["core"]
    assert core["remote"] == "mine"
    assert core["site_cache_dir"] == str(tmp_path / ".cache/dvc")
    assert core.get("no_scm", False) is not with_git


@pytest.mark.parametrize(("threads", "divisor"), [("1", 1), ("2", 2), ("1000", 1000), ("many", 1)])
def test_stages_share_the_cores(threads: str, divisor: int) -> None:
    cores = len(os.sched_getaffinity(0))
    assert environment.parallel_stages({"OMP_NUM_THREADS": threads}) == max(1, cores // divisor)
