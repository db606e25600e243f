"""What git knows of a project: its commit, and what in the work tree differs from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LARGEST = 16 * 2**20
"""Bytes of an untracked file that a patch still holds."""

MADE = "dvc.lock"
"""The file that a run itself writes among those that git tracks: no difference that counts."""

ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
"""Variables of a hook, which would lead to another repository than the folder's."""

RAW = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-relative")
PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")
PATCH = ("diff", "--cached", "--binary", "--full-index", *RAW, *PREFIXES)
"""A patch that the user's settings do not change."""


class GitError(Exception):
    """git is not installed, or it ended with an error: its words."""


def git(folder: Path, *words: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> bytes:
    """What ``git WORDS`` prints in ``folder``.

    Raises:
        GitError: it is not installed or failed.
    """
    plain = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, env=plain | dict(env or {}), input=stdin, capture_output=True)
    except OSError as error:
        raise GitError(str(error)) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise GitError("; ".join(said) or f"exit code {done.returncode}")
    return done.stdout


def text(folder: Path, *words: str) -> str:
    """The same as text, without the line's end."""
    return git(folder, *words).decode(errors="replace").rstrip("\n")


@dataclass(frozen=True)
class WorkTree:
    """The project's part of a git work tree, beside its commit; dvc.lock is looked away from.

    Attributes:
        project: the folder with dvc.yaml, which may lie below the top of the work tree.
    """

    project: Path

    @cached_property
    def commit(self) -> str | None:
        """The commit that is checked out; None outside git and before the first commit."""
        try:
            return text(self.project, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except GitError:
            return None

    @cached_property
    def _untracked(self) -> list[str]:
        """Files that are neither tracked nor ignored; other repositories in between are left out."""
        listed = git(self.project, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
        names = [os.fsdecode(name) for name in listed.split(b"\0") if name]
        return [name for name in names if name != MADE and not name.endswith("/")]

    @cached_property
    def left_out(self) -> list[str]:
        """Untracked files that are too large for a patch."""
        sizes = {name: (self.project / name).lstat().st_size for name in self._untracked}
        return [name for name, size in sizes.items() if size > LARGEST]

    @cached_property
    def patch(self) -> bytes:
        """What leads from the commit to the files that are there; empty if they are the commit's.

        Binary-safe, with untracked files; made in an index and a store of objects of its own, so that
        nothing of the user's changes.

        Raises:
            GitError: git cannot make it.
        """
        kept = [name for name in self._untracked if name not in self.left_out]
        ours = (".", f":(exclude){MADE}")
        with tempfile.TemporaryDirectory() as folder:
            env = {
                "GIT_INDEX_FILE": str(Path(folder, "index")),
                "GIT_OBJECT_DIRECTORY": str(Path(folder, "objects")),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._own("objects")),
            }
            Path(folder, "objects").mkdir()
            if self._own("index").is_file():
                # with its time, by which git knows files that were changed right after they were added
                shutil.copy2(self._own("index"), env["GIT_INDEX_FILE"])
            git(self.project, "add", "--update", "--", *ours, env=env)
            if kept:
                names = b"\0".join(os.fsencode(f":(literal){name}") for name in kept)
                words = ("add", "--pathspec-from-file=-", "--pathspec-file-nul")
                git(self.project, *words, env=env, stdin=names)
            return git(self.project, *PATCH, "HEAD", "--", *ours, env=env)

    def _own(self, name: str) -> Path:
        """A part of the repository itself."""
        return Path(text(self.project, "rev-parse", "--path-format=absolute", "--git-path", name))

    @cached_property
    def summary(self) -> str:
        """Which files differ and by how many lines, as `git apply --stat` shows a patch."""
        return git(self.project, "apply", "--stat", "-", stdin=self.patch).decode(errors="replace").rstrip()
