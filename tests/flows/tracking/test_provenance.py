from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from pathlib import Path

import pytest
from repositories import commit_all, git

from flows.tracking.provenance import git as our_git
from flows.tracking.provenance import machine
from flows.tracking.provenance.git import GitError, WorkTree
from flows.tracking.provenance.provenance import Provenance


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project below the top of its repository."""
    folder = tmp_path / "repository" / "a project"
    folder.mkdir(parents=True)
    (folder / "kept.txt").write_text("1\n2\n")
    (folder / "gone.txt").write_text("gone\n")
    (folder / "data.bin").write_bytes(bytes(range(256)))
    (folder / ".gitignore").write_text("/ignored\n")
    (folder / "dvc.lock").write_text("before\n")
    (folder.parent / "beside.txt").write_text("not the project's\n")
    commit_all(folder.parent)
    return folder


def change(project: Path) -> None:
    (project / "kept.txt").write_text("1\n3\n")
    (project / "gone.txt").unlink()
    (project / "data.bin").write_bytes(bytes(reversed(range(256))))
    (project / "new folder").mkdir()
    (project / "new folder/ünï*.txt").write_text("new\n")
    (project / "staged.txt").write_text("staged\n")
    git(project, "add", "staged.txt")
    (project / "tool.sh").write_text("#!/bin/sh\n")
    (project / "tool.sh").chmod(0o755)


def files(folder: Path) -> dict[str, bytes]:
    names = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


def test_the_patch_leads_from_the_commit_to_the_files_and_touches_nothing(
    project: Path, tmp_path: Path
) -> None:
    change(project)
    (project / "ignored").write_text("not in the patch")
    (project / "dvc.lock").write_text("made by a run\n")
    (project.parent / "beside.txt").write_text("changed, but not the project's\n")
    status = git(project, "status", "--porcelain")
    objects = git(project, "count-objects")
    tree = WorkTree(project)
    patch = tree.patch
    assert git(project, "status", "--porcelain") == status
    assert git(project, "count-objects") == objects
    git(project, "clone", "--quiet", str(project.parent), str(tmp_path / "clone"))
    our_git.git(tmp_path / "clone", "apply", "--index", "-", stdin=patch)
    restored = files(tmp_path / "clone" / "a project")
    expected = files(project)
    del expected["ignored"]
    assert restored == expected | {"dvc.lock": b"before\n"}
    assert os.access(tmp_path / "clone/a project/tool.sh", os.X_OK)
    assert "kept.txt" in tree.summary


def test_the_patch_does_not_follow_the_users_settings(project: Path, tmp_path: Path) -> None:
    for name, value in (
        ("diff.noprefix", "true"),
        ("color.ui", "always"),
        ("diff.external", "false"),
        ("core.quotepath", "false"),
    ):
        git(project, "config", name, value)
    change(project)
    git(project, "clone", "--quiet", str(project.parent), str(tmp_path / "clone"))
    our_git.git(tmp_path / "clone", "apply", "--index", "-", stdin=WorkTree(project).patch)
    assert files(tmp_path / "clone" / "a project") == files(project)


def test_a_file_changed_right_after_its_commit_is_in_the_patch(project: Path) -> None:
    """Of the same size and within the same second, git knows it by the time of the index alone."""
    path = project / "raced.txt"
    for attempt in "123":
        path.write_text(f"{attempt}a")
        commit_all(project)
        path.write_text(f"{attempt}b")
        time.sleep(1.1)
        assert f"+{attempt}b".encode() in WorkTree(project).patch


def test_a_clean_tree_has_no_patch_whatever_a_run_has_written(project: Path) -> None:
    (project / "dvc.lock").write_text("made by a run\n")
    tags = Provenance(project).tags
    assert tags["git_commit"] == git(project, "rev-parse", "HEAD")
    assert tags["git_dirty"] == "false"
    assert not {"warning", "git_diff", "git_left_out"} & tags.keys()


def test_a_dirty_tree_is_warned_of(project: Path) -> None:
    change(project)
    tags = Provenance(project).tags
    assert tags["git_dirty"] == "true"
    assert "differ from the commit: see setup/tree.diff" in tags["warning"]
    assert "kept.txt" in tags["git_diff"] and "6 files changed" in tags["git_diff"]


def test_a_long_summary_is_shortened(project: Path) -> None:
    for number in range(60):
        (project / f"a file with a rather long name {number}").write_text("x")
    assert len(Provenance(project).tags["git_diff"]) == 1000


def test_large_untracked_files_are_named_instead(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(our_git, "LARGEST", 100)
    (project / "large.bin").write_bytes(bytes(101))
    tags = Provenance(project).tags
    assert tags["git_dirty"] == "true"
    assert tags["git_left_out"] == "large.bin"
    assert WorkTree(project).patch == b""


def test_another_repository_in_the_project_is_left_out(project: Path) -> None:
    (project / "inner").mkdir()
    (project / "inner/file").write_text("x")
    commit_all(project / "inner")
    assert WorkTree(project).patch == b""


def test_a_project_that_nobody_has_committed(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "readme").write_text("x")
    commit_all(tmp_path)
    (tmp_path / "project/params.yaml").write_text("x")
    assert b"params.yaml" in WorkTree(tmp_path / "project").patch


def test_outside_git_and_before_the_first_commit(tmp_path: Path) -> None:
    assert WorkTree(tmp_path).commit is None
    assert not {name for name in Provenance(tmp_path).tags if "git" in name}
    assert Provenance(tmp_path).patch == b""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert WorkTree(tmp_path).commit is None


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert WorkTree(tmp_path).commit is None


def test_git_that_fails_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "kept.txt").write_text("3")
    monkeypatch.setattr(our_git, "PATCH", ("diff", "--no-such-option"))
    with pytest.raises(GitError):
        _ = WorkTree(project).patch
    tags = Provenance(project).tags
    assert tags["git_dirty"] == "true"
    assert tags["warning"].startswith("what differs from the commit is unknown: ")


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    there = machine.installed("pytest")
    lock = f"pytest=={there}\nPyYAML=={machine.installed('pyyaml')} ; python_version > '3'\n# a==1\n"
    (tmp_path / "requirements.lock").write_text(lock)
    tags = Provenance(tmp_path).tags
    assert tags["packages_match"] == "true"
    assert tags["requirements_sha256"] == hashlib.sha256(lock.encode()).hexdigest()
    (tmp_path / "requirements.lock").write_text("pytest==0.1\nnobody-has-this==3\n")
    tags = Provenance(tmp_path).tags
    assert tags["packages_match"] == "false"
    assert tags["packages_other"] == f"pytest {there} instead of 0.1, nobody-has-this missing instead of 3"


def test_a_local_version_counts_only_where_the_lock_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda name: "2.13.0+cpu")
    assert machine.other_packages("torch==2.13.0\n") == {}
    assert machine.other_packages("torch==2.13.0+cpu\n") == {}
    assert machine.other_packages("torch==2.13.0+cu130\n") == {"torch": ("2.13.0+cu130", "2.13.0+cpu")}


def test_long_lists_are_counted() -> None:
    packages: dict[str, tuple[str, str | None]] = {f"p{n}": ("1", "2") for n in range(13)}
    assert machine.summary(packages).endswith("p9 2 instead of 1 and 3 more")


def test_facts_of_the_machine() -> None:
    facts = machine.facts({"OMP_NUM_THREADS": "3"})
    assert facts["python"] == platform.python_version()
    assert facts["threads"] == "3"
    assert all(facts.values())
    assert Provenance(Path("/nowhere")).tags["machine/cpu"] == facts["cpu"]
    assert machine.other_facts(facts, facts) == {}
    assert machine.other_facts(facts | {"cpu": "x", "gone": "1"}, facts) == {"cpu": ("x", facts["cpu"])}


def test_a_machine_that_does_not_describe_its_processor(tmp_path: Path) -> None:
    assert machine._cpu(tmp_path / "none")
