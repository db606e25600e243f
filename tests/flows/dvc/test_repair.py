"""What is left of a DVC that was killed while it wrote."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import yaml
from projects import Project

from flows.dvc.graph import output_hashes
from flows.dvc.repair import repair
from flows.tracking.runs import VOLATILE

LOCK = yaml.safe_dump(
    {
        "schema": "2.0",
        "stages": {
            name: {"cmd": f"make {name}", "outs": [{"path": name, "hash": "md5", "md5": 32 * "0", "size": 7}]}
            for name in ("first", "second")
        },
    },
    sort_keys=False,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    return tmp_path


def said(project: Path) -> str:
    """What mending tells."""
    with redirect_stderr(io.StringIO()) as stream:
        repair(project)
    return stream.getvalue()


@pytest.mark.parametrize("text", ["", "{", '{"write": {}, "read": {"/a": [{"pid": 1'])
def test_an_rwlock_that_was_cut_short_is_put_aside(project: Path, text: str) -> None:
    (project / ".dvc/tmp/rwlock").write_text(text)
    assert ".dvc/tmp/rwlock was cut short by a run that was killed" in said(project)
    assert not (project / ".dvc/tmp/rwlock").exists()
    assert (project / ".cache/rwlock.damaged").read_text() == text
    assert said(project) == ""


@pytest.mark.parametrize("length", range(0, len(LOCK) - 1, 7))
def test_a_beginning_of_dvc_lock_is_put_aside_or_can_be_read(project: Path, length: int) -> None:
    path = project / "dvc.lock"
    path.write_text(LOCK[:length])
    told = said(project)
    assert path.exists() is (told == "")
    if path.exists():
        assert {"schema", "stages"} == yaml.safe_load(path.read_text()).keys()
    else:
        assert "dvc.lock was cut short by a run that was killed: put aside as .cache/dvc.lock.damaged" in told
        assert (project / ".cache/dvc.lock.damaged").read_text() == LOCK[:length]


def test_what_is_whole_or_its_users_to_settle_is_left(project: Path) -> None:
    (project / ".dvc/tmp/rwlock").write_text('{"write": {}, "read": {}}')
    for text in (LOCK, f"<<<<<<< HEAD\n{LOCK}=======\n"):
        (project / "dvc.lock").write_text(text)
        assert said(project) == ""
        assert (project / "dvc.lock").read_text() == text


def test_a_project_without_dvc_is_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("{")
    assert said(tmp_path) == ""


def lasting(project: Project) -> dict[str, str]:
    """MD5 of every output that is the same each time, by its path."""
    outs = {path: md5 for made in output_hashes(project.root).values() for path, md5 in made.items()}
    return {path: md5 for path, md5 in outs.items() if not path.endswith(VOLATILE)}


@pytest.mark.long
def test_a_run_goes_on_from_damaged_files(make_toy: Callable[[], Project]) -> None:
    project = make_toy()
    first = project.run()
    before = lasting(project)
    lock = project.root / "dvc.lock"
    whole = lock.read_text()
    lock.write_text(whole[: whole.index("  - path: ", len(whole) // 2) + 4])
    (project.root / ".dvc/tmp/rwlock").write_text("")
    done = project.adasde("run")
    assert "dvc.lock was cut short" in done.stderr and "rwlock was cut short" in done.stderr
    assert lasting(project) == before
    assert [run["new"] for run in first["runs"]] == [True, True]
    assert "0 new MLflow runs" in done.stdout
