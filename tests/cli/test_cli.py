"""The command line itself: help, version, exit codes, JSON, messages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from command import ROOT, adasde, explained
from tiny import STAGES, tiny_values, write_params

import adasde as package
from adasde.cli import main, stages


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    commands = {arguments[0] for arguments in STAGES.values()}
    for stage in [*commands, "train-digits", "train-glyphs"]:
        ended = adasde([stage, "--help"], tmp_path)
        assert ended.code == 0
        assert re.search(rf"Example:\s+adasde {stage}", ended.out), stage
        assert "--json" in ended.out


def test_help_lists_the_commands(tmp_path: Path) -> None:
    ended = adasde(["--help"], tmp_path)
    assert ended.code == 0
    assert all(arguments[0] in ended.out for arguments in STAGES.values())


def test_the_command_line_adds_nothing_heavy_to_the_package() -> None:
    """The program must list its commands in less than a second."""
    code = (
        "import adasde, sys; had = set(sys.modules); import adasde.cli.main; print(*set(sys.modules) - had)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    added = {name.split(".")[0] for name in found.stdout.split()}
    assert "typer" in added
    assert not added & {"torch", "numpy", "pydantic", "matplotlib", "safetensors", "prefect", "mlflow", "dvc"}


def test_version(tmp_path: Path) -> None:
    assert adasde(["--version"], tmp_path).out == f"adasde {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["teacher"],
        ["teacher", "--nfe", "x"],
        ["teacher", "--nfe", "0"],
        ["nonsense"],
        ["fetch", "--nonsense"],
        [],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], tmp_path: Path) -> None:
    assert adasde(arguments, tmp_path).code == 2


def test_outside_a_project_the_message_says_what_to_do(tmp_path: Path) -> None:
    explained(adasde(["teacher", "--nfe", "3"], tmp_path), "cannot read params.yaml", "--params")


def test_json_is_the_only_thing_on_stdout(project: Path) -> None:
    for arguments in STAGES.values():
        ended = adasde([*arguments, "--json"], project)
        assert ended.code == 0, ended.err
        answer = json.loads(ended.out)
        assert answer["stage"] == arguments[0]
        assert (project / answer["out"]).exists()


def test_the_plain_outcome_is_one_line(project: Path) -> None:
    ended = adasde(STAGES["teacher"], project)
    assert ended.out == "teacher: data/teacher/nfe3/custom (made 0, reused 3)\n"


def test_paths_are_free(project: Path) -> None:
    arguments = [
        "teacher",
        "--nfe",
        "3",
        "--checkpoint",
        "data/checkpoint",
        "--out",
        "a/b c/ü",
        "--params",
        "p.yaml",
    ]
    (project / "params.yaml").rename(project / "p.yaml")
    assert adasde(arguments, project).code == 0
    assert (project / "a/b c/ü/manifest.json").is_file()


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADASDE_DEBUG", "1")
    ended = adasde(["teacher", "--nfe", "3"], tmp_path)
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert ended.err.strip().splitlines()[-1].startswith("error: cannot read params.yaml")


def test_an_unreadable_file_is_explained_without_traceback(tmp_path: Path) -> None:
    def before() -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", "params.yaml")

        stages.params_of = refuse  # type: ignore[assignment]

    explained(adasde(["fetch"], tmp_path, before=before), "params.yaml: Permission denied")


def test_a_missing_extra_is_named_with_the_remedy(project: Path) -> None:
    def before() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
            del sys.modules[name]
        sys.modules["matplotlib"] = None  # type: ignore[assignment]

    explained(
        adasde(STAGES["report"], project, before=before), "matplotlib", "pip install 'adasde[pipeline]'"
    )


def test_a_bug_is_not_dressed_up_as_an_explanation(tmp_path: Path) -> None:
    def before() -> None:
        def bug(path: Path) -> None:
            raise ZeroDivisionError("a bug")

        stages.params_of = bug  # type: ignore[assignment]

    ended = adasde(["fetch"], tmp_path, before=before)
    assert ended.code != 0
    assert "ZeroDivisionError: a bug" in ended.err


def test_entry_points_add_commands_and_a_broken_one_only_warns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Point:
        def __init__(self, value: str, register: object) -> None:
            self.value, self.register = value, register

        def load(self) -> object:
            if isinstance(self.register, ImportError):
                raise self.register
            return self.register

    added: list[typer.Typer] = []
    points = [Point("good:register", added.append), Point("bad:register", ImportError("no module"))]
    monkeypatch.setattr(main, "entry_points", lambda group: points if group == "adasde.commands" else [])
    main._load_commands()
    assert added == [main.app]
    assert "bad:register are not there: no module" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "shape"), [("digits", (1, 8, 8)), ("glyphs", (3, 16, 16))])
def test_training_writes_a_checkpoint_that_loads(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values())
    ended = adasde([f"train-{name}", "--out", "mine", "--iterations", "3", "--json"], tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"stage": f"train-{name}", "out": "mine", "seed": 0, "iterations": 3}
    from adasde.evaluation.features import load_features
    from adasde.models.loading import load_model

    assert load_model(tmp_path / "mine").shape == shape
    assert load_features(tmp_path / "mine").name == name
