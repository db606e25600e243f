"""A project in git: its commit, and the uncommitted changes."""

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
"""Size in bytes of the largest untracked file that a patch includes."""

MADE = "dvc.lock"
"""The tracked file that every run writes; it does not count as a change."""

HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
"""Variables that git sets in hooks; they would select another repository."""

RAW = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-relative")
PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")
PATCH = ("diff", "--cached", "--binary", "--full-index", *RAW, *PREFIXES)
"""The diff command, independent of the user's settings."""


class GitError(Exception):
    """git is missing or failed; the message is git's."""


def git(folder: Path, *words: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> bytes:
    """Output of ``git WORDS`` in ``folder``.

    Raises:
        GitError: it is not installed or failed.
    """
    plain = {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}
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
    """Uncommitted changes of the project, ignoring dvc.lock.

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
        """Patch from the commit to the present files; empty without changes.

        Binary-safe, with untracked files. A temporary index and object store keep the user's own untouched.

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
        """Path of a file inside the repository."""
        return Path(text(self.project, "rev-parse", "--path-format=absolute", "--git-path", name))

    @cached_property
    def summary(self) -> str:
        """Changed files and line counts, as `git apply --stat` prints them."""
        return git(self.project, "apply", "--stat", "-", stdin=self.patch).decode(errors="replace").rstrip()
