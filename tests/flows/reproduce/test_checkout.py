"""A run's state in a folder of its own: from git, from its files, and its inputs from where they are kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from projects import Project
from repositories import commit_all, git, under_git

from adasde.errors import AdaSDEError
from adasde.utils.atomic_io import sha256_file
from flows.dvc.prepare import prepare_dvc
from flows.reproduce.checkout import Checkout, Place
from flows.reproduce.source_run import SourceRun
from flows.tracking.provenance.git import WorkTree

CARD = b'"the checkpoint"'


def place_object(cache: Path, data: bytes) -> str:
    """Put bytes where DVC's caches and remotes have them; their MD5."""
    md5 = hashlib.md5(data).hexdigest()
    path = cache / "files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return md5


@pytest.fixture
def project(make_toy, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project in which one stage, of one file, has run."""
    toy: Project = make_toy()
    root = toy.root
    stages = {"fetch": {"cmd": "true", "outs": ["data/card"]}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    under_git(root)
    for name in ("DVC_SITE_CACHE_DIR", "ADASDE_STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    prepare_dvc(root)
    md5 = place_object(root / ".dvc/cache", CARD)
    out = {"path": "data/card", "hash": "md5", "md5": md5, "size": len(CARD)}
    entries = {"fetch": {"cmd": "true", "outs": [out]}, "other": {"cmd": "true", "outs": []}}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": entries}))
    return root


def recorded(project: Path, folder: Path) -> SourceRun:
    """What a run of the project's present state would have recorded."""
    setup = folder / "setup"
    setup.mkdir()
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        shutil.copy(project / name, setup)
    if patch := WorkTree(project).patch:
        (setup / "tree.diff").write_bytes(patch)
    return SourceRun("the-run", git(project, "rev-parse", "HEAD"), 3, {}, {}, setup)


class Said(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


def variables(folder: Path) -> dict[str, str]:
    return dict(os.environ) | {"DVC_SITE_CACHE_DIR": str(folder / ".cache/dvc"), "DVC_NO_ANALYTICS": "1"}


def restore(run: SourceRun, project: Path, top: Path, say: Said | None = None) -> Place:
    return Checkout(run, project, top, say=say if say is not None else Said()).restore(variables)


def test_files_settings_and_inputs_are_those_of_the_run(project: Path, tmp_path: Path) -> None:
    (project / "toy.py").write_text("changed")
    (project / "new.bin").write_bytes(bytes(range(256)))
    (project / "params.yaml").write_text("nfe: [3]\n")
    run, said, top = recorded(project, tmp_path), Said(), tmp_path / "again"
    git(project, "stash", "--include-untracked")
    before = git(project, "status", "--porcelain")
    place = restore(run, project, top, said)
    assert (place.top, place.project) == (top, top)
    assert (top / "toy.py").read_text() == "changed"
    assert (top / "new.bin").read_bytes() == bytes(range(256))
    assert (top / "params.yaml").read_text() == "nfe: [3]\n"
    assert list(yaml.safe_load((top / "dvc.lock").read_text())["stages"]) == ["fetch"], "the rest is made"
    assert (top / "data/card").read_bytes() == CARD
    assert "the inputs are from the project's cache" in said
    objects = [path for path in (top / ".dvc/cache/files").rglob("*") if path.is_file()]
    assert len(objects) == 1, "a cache of its own"
    assert git(project, "status", "--porcelain") == before
    assert str(top) in git(project, "worktree", "list")


def test_inputs_come_from_the_storage_first(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADASDE_STORAGE_URL", str(tmp_path / "storage"))
    place_object(tmp_path / "storage/dvc", CARD)
    run, said = recorded(project, tmp_path), Said()
    place = restore(run, project, tmp_path / "again", said)
    assert f"the inputs are from the storage {tmp_path}/storage/dvc" in said
    assert (place.project / "data/card").read_bytes() == CARD


def test_inputs_that_nobody_has_kept_are_made_anew(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADASDE_STORAGE_URL", str(tmp_path / "storage"))
    shutil.rmtree(project / ".dvc/cache")
    run, said = recorded(project, tmp_path), Said()
    place = restore(run, project, tmp_path / "again", said)
    assert said[-1] == "the inputs are made anew"
    assert any(line.startswith(f"the inputs are not in the storage {tmp_path}/storage") for line in said)
    assert not (place.project / "data/card").exists()


def test_inputs_that_were_altered_are_not_taken(project: Path, tmp_path: Path) -> None:
    (file,) = [path for path in (project / ".dvc/cache/files").rglob("*") if path.is_file()]
    file.write_bytes(b"x" * len(CARD))
    run, said = recorded(project, tmp_path), Said()
    restore(run, project, tmp_path / "again", said)
    assert said[-1] == "the inputs are made anew"


def test_a_second_try_carries_on_and_keeps_what_is_there(project: Path, tmp_path: Path) -> None:
    run, top = recorded(project, tmp_path), tmp_path / "again"
    restore(run, project, top)
    (top / "dvc.lock").write_text("made meanwhile")
    said = Said()
    restore(run, project, top, said)
    assert said == [f"carrying on in {top}"]
    assert (top / "dvc.lock").read_text() == "made meanwhile"


def test_a_try_that_was_killed_while_it_restored_is_done_again(project: Path, tmp_path: Path) -> None:
    (project / "new.txt").write_text("new")
    run, top = recorded(project, tmp_path), tmp_path / "again"
    git(project, "worktree", "add", "--quiet", "--detach", "--no-checkout", str(top), run.commit)
    restore(run, project, top)  # killed right after git
    (mark,) = (project / ".git/worktrees").rglob("adasde.json")
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"restored": False}))
    (top / "toy.py").write_text("half")
    restore(run, project, top)  # killed in the middle
    assert (top / "new.txt").read_text() == "new"
    assert sha256_file(top / "toy.py") == sha256_file(project / "toy.py")


def test_a_folder_that_was_removed_by_hand_is_made_again(project: Path, tmp_path: Path) -> None:
    run, top = recorded(project, tmp_path), tmp_path / "again"
    restore(run, project, top)
    shutil.rmtree(top)
    restore(run, project, top)
    assert (top / "toy.py").is_file()


def test_a_project_below_the_top_of_its_repository(project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / ".git")
    (project.parent / "beside.txt").write_text("beside")
    (project.parent / ".gitignore").write_text("/home/\n")
    commit_all(project.parent)
    (project / "toy.py").write_text("changed")
    place = restore(recorded(project, tmp_path), project, tmp_path / "again")
    assert place.project == tmp_path / "again" / project.name
    assert (place.project / "toy.py").read_text() == "changed"
    assert (place.top / "beside.txt").is_file()


def test_a_commit_that_is_not_here(project: Path, tmp_path: Path) -> None:
    run = replace(recorded(project, tmp_path), commit="c" * 40)
    with pytest.raises(AdaSDEError, match=r"commit c{40} of run the-run is not in the repository.*git fetch"):
        restore(run, project, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_project_that_is_not_in_git(project: Path, tmp_path: Path) -> None:
    run = recorded(project, tmp_path)
    shutil.rmtree(project / ".git")
    with pytest.raises(AdaSDEError, match=r"is no git work tree .*Start this in a clone"):
        restore(run, project, tmp_path / "again")


@pytest.mark.parametrize("whose", ["a folder", "a repository", "another run's", "a file"])
def test_a_folder_of_somebody_else(project: Path, tmp_path: Path, whose: str) -> None:
    run, top = recorded(project, tmp_path), tmp_path / "again"
    if whose == "another run's":
        restore(replace(run, run_id="another"), project, top)
    elif whose == "a file":
        top.write_text("mine")
    else:
        top.mkdir()
        (top / "mine.txt").write_text("mine")
    if whose == "a repository":
        commit_all(top)
    with pytest.raises(AdaSDEError, match=r"again is not empty, and not of an earlier try.*--out"):
        restore(run, project, top)
    if whose != "another run's":
        assert (top if top.is_file() else top / "mine.txt").read_text() == "mine"


def test_a_patch_that_does_not_apply(project: Path, tmp_path: Path) -> None:
    (project / "toy.py").write_text("changed")
    run = recorded(project, tmp_path)
    patch = run.setup / "tree.diff"
    patch.write_bytes(patch.read_bytes().replace(b"-import argparse", b"-import nothing"))
    for _ in range(2):  # it stays what it is
        with pytest.raises(AdaSDEError, match=r"do not apply to its commit.*setup/tree\.diff .* damaged"):
            restore(run, project, tmp_path / "again")
