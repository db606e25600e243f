"""Preparation of a project on this machine: environment, DVC's local configuration, repair of its files."""

from __future__ import annotations

import os
from pathlib import Path

from flows.dvc.remote import dvc_url, with_remote
from flows.dvc.repair import repair
from flows.system.environment import find_project, in_git, settings


def prepare(project: Path) -> None:
    """Set the environment of this process, configure DVC for this machine, repair what a killed one left."""
    os.environ.update(settings(project, os.environ))
    prepare_dvc(project)
    repair(project)


def prepare_dvc(project: Path) -> None:
    """Write machine-specific settings into ``.dvc/config.local``; other keys stay."""
    from dvc.config import Config

    wanted: dict[str, object] = {"site_cache_dir": str(project / ".cache" / "dvc")}
    if not in_git(project):
        wanted["no_scm"] = "true"
    config = Config(dvc_dir=str(project / ".dvc"))
    before = config.load_one("local")
    core = {name: value for name, value in before.get("core", {}).items() if name != "no_scm"} | wanted
    after = with_remote(before | {"core": core}, dvc_url(project))
    if after != before:
        with config.edit("local") as local:
            local.update(after)


if __name__ == "__main__":
    prepare(find_project(Path()))
