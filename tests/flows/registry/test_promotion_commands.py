"""`adasde promote`, `rollback` and `registry` on MLflow's real registry, in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import files_end_after
from homes import RealHome
from typer.testing import CliRunner, Result

import adasde
from adasde.cli.main import app
from adasde.errors import StoreError

pytestmark = pytest.mark.integration  # MLflow makes its database once


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHome]:
    """One registry for all tests of this file; each has a model of its own."""
    environment, folder = dict(os.environ), Path.cwd()
    for name in ("PREFECT_API_URL", "ADASDE_STORAGE_URL", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    home = RealHome(tmp_path_factory.mktemp("commands") / "a project")
    (home.root / "dvc.yaml").write_text("stages: {}\n")
    (home.root / ".dvc").mkdir()
    os.chdir(home.root)
    yield home
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answer(*arguments: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: str) -> str:
    """The one paragraph with which the command ends."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_from_the_first_champion_to_a_rollback(home: RealHome) -> None:
    words = ("promote", "a", "--nfe", "5")
    first = home.add("a", 1.0)
    trial = call(*words, "--dry-run")
    assert f"version {first} would be champion now" in trial.stdout
    assert home.champion("a") is None
    result = call(*words)
    assert result.exit_code == 0, result.output
    assert f"adasde-a-nfe5: version {first} is champion now" in result.stdout
    assert "store/registry/adasde-a-nfe5/champion.json or models:/adasde-a-nfe5@champion" in result.stdout
    second = home.add("a", 0.5)
    outcome = answer(*words)
    assert (outcome["changed"], outcome["champion"], outcome["before"]) == (True, second, first)
    assert home.champion("a") == home.alias("a") == second
    worse = home.add("a", 3.0)
    outcome = answer(*words)
    assert (outcome["changed"], outcome["champion"], outcome["version"]) == (False, second, worse)
    assert answer("rollback", "a", "--nfe", "5", "--reason", "too slow")["champion"] == first
    assert home.champion("a") == home.alias("a") == first


def test_all_ways_to_the_champion_give_the_same_table(home: RealHome) -> None:
    home.add("ways", 1.0)
    call("promote", "ways", "--nfe", "5")
    pointer = "store/registry/adasde-ways-nfe5/champion.json"
    by_path, by_alias = (
        adasde.Coefficients.load(spec) for spec in (pointer, "models:/adasde-ways-nfe5@champion")
    )
    assert by_path.provenance == by_alias.provenance == {"mark": 1.0}
    bundle = json.loads(Path(pointer).read_text())["bundle"]
    (Path(pointer).parent / bundle).write_text("exchanged")
    with pytest.raises(StoreError, match="altered"):
        adasde.Coefficients.load(pointer)


def test_what_is_registered(home: RealHome) -> None:
    home.add("listed", 1.0)
    call("promote", "listed", "--nfe", "5", "--reason", "the first")
    result = call("registry", "listed")
    assert result.exit_code == 0, result.output
    assert "Versions" in result.stdout and "Decisions" in result.stdout
    (model,) = answer("registry", "listed", "--nfe", "5")["models"]
    (version,) = model["versions"]
    assert (version["fid"], version["aliases"]) == (1.0, ["challenger", "champion"])
    assert model["decisions"][0]["reasons"][0] == "the first"
    assert "nothing is registered under that name" in call("registry", "nobody").stdout


def test_force_needs_a_reason(home: RealHome) -> None:
    home.add("forced", 1.0)
    call("promote", "forced", "--nfe", "5")
    home.add("forced", 2.0)
    result = call("promote", "forced", "--nfe", "5", "--force", "--reason", " ")
    assert result.exit_code == 2
    assert "--reason" in result.stderr
    assert answer("promote", "forced", "--nfe", "5", "--force", "--reason", "a test")["changed"]


def test_what_is_not_there(home: RealHome) -> None:
    words = ("promote", "gone", "--nfe", "5")
    assert "has no model adasde-gone-nfe5 (there is: " in refused(*words)
    version = home.add("gone", 1.0)
    assert f"has no version 99. Name another with --candidate (there is: {version})" in refused(
        *words, "--candidate", "99"
    )
    home.client.delete_registered_model_alias("adasde-gone-nfe5", "challenger")
    assert "has no challenger, the alias that 'adasde run' sets. Run it, or name a version" in refused(*words)
    assert "has no champion: there is no" in refused("rollback", "gone", "--nfe", "5")
    assert answer(*words, "--candidate", version)["changed"]
    assert "is its first champion" in refused("rollback", "gone", "--nfe", "5")


def append(path: Path, text: str) -> None:
    with path.open("a") as stream:
        stream.write(text)


def newest(home: RealHome, name: str) -> Path:
    """The file of that name that was registered last."""
    return max((home.root / "mlruns").rglob(name), key=lambda path: path.stat().st_mtime_ns)


BAD: dict[str, tuple[dict[str, Any], Callable[[RealHome], object], str]] = {
    "no metrics": (
        {"without": "metrics.json"},
        lambda home: None,
        "has no metrics.json, so there is nothing",
    ),
    "no coefficients": ({"without": "coefficients.json"}, lambda home: None, "has no coefficients.json"),
    "another budget": ({"steps": 2}, lambda home: None, "spend 3 evaluations, not 5"),
    "damaged metrics": (
        {},
        lambda home: newest(home, "metrics.json").write_text('{"rows": {}}'),
        "has no usable metrics",
    ),
    "cut coefficients": (
        {},
        lambda home: os.truncate(newest(home, "coefficients.json"), 100),
        "not a complete coefficient file",
    ),
    "other coefficients": (
        {},
        lambda home: append(newest(home, "coefficients.json"), " "),
        "not those that were registered",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_a_candidate_that_cannot_be_used(home: RealHome, how: str) -> None:
    arguments, spoil, words = BAD[how]
    model = how.replace(" ", "-")
    home.add(model, 1.0, **arguments)
    spoil(home)
    command = ("promote", model, "--nfe", "5")
    assert words in refused(*command, "--force", "--reason", "even so")
    assert home.champion(model) is None
    assert home.states(model) == []
    home.add(model, 1.0)
    assert answer(*command)["changed"]


def test_a_server_of_prefect_that_is_away_is_no_obstacle(
    home: RealHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add("alone", 1.0)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    result = call("promote", "alone", "--nfe", "5")
    assert result.exit_code == 0, result.output
    assert "note: Prefect at http://127.0.0.1:9/api does not answer" in result.stderr


def test_a_full_disk(home: RealHome) -> None:
    version = home.add("full", 1.0)
    words = ("promote", "full", "--nfe", "5")
    with files_end_after(100):  # nothing can be stored
        error = refused(*words)
    assert (
        "cannot store " in error and "File too large. What was there before is kept; free some space" in error
    )
    assert home.champion("full") is None
    with files_end_after(8000):  # all but the writes of MLflow's database
        error = refused(*words)
    assert f"version {version} of adasde-full-nfe5 is champion, " in error
    assert "only the record of it failed: disk I/O error. The next promote, rollback or registry" in error
    assert home.champion("full") == version != home.alias("full")
    assert "it is complete now" in answer(*words)["notes"][-1]
    assert home.champion("full") == home.alias("full") == version


def test_a_server_of_mlflow_that_is_away(home: RealHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.add("waiting", 1.0)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        for command in (("promote", "a", "--nfe", "5"), ("rollback", "a", "--nfe", "5"), ("registry",)):
            error = refused(*command)
            assert (
                "MLflow at http://127.0.0.1:9 failed: Connection refused. The champion is as it was" in error
            )
    assert answer("promote", "waiting", "--nfe", "5")["changed"]


def test_no_database_is_made(home: RealHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for command in (("promote", "a", "--nfe", "5"), ("rollback", "a", "--nfe", "5"), ("registry",)):
        assert "there is no MLflow database" in refused(*command)
    assert list(tmp_path.iterdir()) == []


def test_the_commands_are_there_without_anything_heavy() -> None:
    for name in ("promote", "rollback", "registry"):
        result = call(name, "--help")
        assert f"Example: adasde {name}" in result.stdout


KILL = """
import os, signal
from adasde.storage import LocalStore

real = LocalStore.write

def write(self, key, data):
    real(self, key, data)
    if key.endswith("champion.json"):
        os.kill(os.getpid(), signal.SIGKILL)

LocalStore.write = write
import sys
sys.argv = ["adasde", "promote", "killed", "--nfe", "5"]
from adasde.cli.main import main
main()
"""


def test_a_killed_process_leaves_a_whole_champion(home: RealHome) -> None:
    home.add("killed", 1.0)
    call("promote", "killed", "--nfe", "5")
    version = home.add("killed", 0.5)
    done = subprocess.run([sys.executable, "-c", KILL], cwd=home.root, timeout=600, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert home.champion("killed") == version
    assert home.alias("killed") != version
    outcome = answer("promote", "killed", "--nfe", "5")
    assert "it is complete now" in outcome["notes"][-1]
    assert home.champion("killed") == home.alias("killed") == version
    assert home.states("killed")[-2:] == ["intended", "done"]


def test_a_project_that_has_moved(home: RealHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.add("moved", 1.0)
    elsewhere = home.root.with_name("another place")
    os.chdir("/")
    home.root.rename(elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/mlflow.db")
    try:
        assert answer("promote", "moved", "--nfe", "5", "--project", str(elsewhere))["changed"]
    finally:
        os.chdir("/")
        elsewhere.rename(home.root)
        os.chdir(home.root)
