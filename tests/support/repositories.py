"""git repositories for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from projects import ROOT


def git(folder: Path, *words: str) -> str:
    """What git prints, as somebody whose name is n."""
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@x", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def under_git(folder: Path) -> str:
    """Commit a project as its makers do, with their lists of what is ignored; the commit."""
    for name in (".gitignore", ".dvc/.gitignore"):
        shutil.copy(ROOT / name, folder / name)
    return commit_all(folder)


def commit_all(folder: Path) -> str:
    """Make the folder a repository if it is none, commit all that is not ignored; the commit."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "m")
    return git(folder, "rev-parse", "HEAD")
