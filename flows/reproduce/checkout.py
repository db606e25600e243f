"""The state that a run was made from, in a folder of its own: a git work tree with the run's files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adasde.errors import AdaSDEError, StoreError
from adasde.utils.atomic_io import write_json, write_text
from flows.dvc.remote import REMOTE, dvc_url, with_remote
from flows.dvc.transfer import run_dvc
from flows.reproduce.source_run import SourceRun
from flows.system.environment import find_project
from flows.tracking.provenance.git import GitError, git, text
from flows.tracking.provenance.provenance import PATCH

INPUTS = ("fetch",)
"""Stages whose outputs are fetched from a cache, where one keeps them, instead of computed."""

CACHE = "project"
"""The name of the remote that is the project's own cache."""

MARK = "adasde.json"
"""The file in git's folder of the work tree with its owner and progress."""

WRITTEN_BACK = ("params.yaml", "dvc.yaml")

ADD = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--no-checkout")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """The folder, its project (``top`` or below it), and the environment in which the pipeline runs there."""

    top: Path
    project: Path
    environment: Mapping[str, str]


class Checkout:
    """Restores a run of ``project`` in the folder ``top``; a second attempt resumes where the first ended."""

    def __init__(self, recorded: SourceRun, project: Path, top: Path, *, say: Say) -> None:
        self._run, self._from, self._top, self._say = recorded, project, top, say

    def restore(self, environment: Callable[[Path], Mapping[str, str]]) -> Place:
        """Make the folder or find it as an earlier try left it; ``environment`` of a project's folder.

        Raises:
            AdaSDEError: the commit is not here, the folder is in other use, or the patch does not apply.
        """
        below = self._find_commit()
        if not self._exists():
            self._add()
        place = Place(self._top, self._top / below, environment(self._top / below))
        if self._mark().get("restored"):
            self._say(f"carrying on in {self._top}")
            return place
        self._write_mark(restored=False)
        self._say(f"restoring commit {self._run.commit[:12]} in {self._top}")
        self._fill(place.project)
        self._bring_inputs(place)
        self._write_mark(restored=True)
        return place

    def _find_commit(self) -> str:
        """Check that the commit is here; where the project lies below the top of the work tree."""
        try:
            below = text(self._from, "rev-parse", "--show-prefix")
        except GitError as error:
            raise AdaSDEError(
                f"{self._from} is no git work tree ({error}), so commit {self._run.commit} of run "
                f"{self._run.run_id} is not here. Start this in a clone of the project's repository."
            ) from error
        try:
            git(self._from, "cat-file", "-e", f"{self._run.commit}^{{commit}}")
        except GitError as error:
            raise AdaSDEError(
                f"commit {self._run.commit} of run {self._run.run_id} is not in the repository of "
                f"{self._from}. Fetch it (`git fetch --all`), or start this in the clone that made the run."
            ) from error
        return below

    def _exists(self) -> bool:
        """Whether the folder is there from an earlier try; an empty one is not."""
        if not self._top.exists() or (self._top.is_dir() and not any(self._top.iterdir())):
            return False
        with suppress(GitError, OSError):
            if text(self._top, "rev-parse", "--show-toplevel") == str(self._top):
                unmarked = [path.name for path in self._top.iterdir()] == [".git"]
                head = text(self._top, "rev-parse", "HEAD")
                if self._mark().get("run") == self._run.run_id or (unmarked and head == self._run.commit):
                    return True
        raise AdaSDEError(
            f"{self._top} is not empty, and not of an earlier try to reproduce run {self._run.run_id}. "
            "Name another folder with --out, or empty this one."
        )

    def _add(self) -> None:
        self._top.parent.mkdir(parents=True, exist_ok=True)
        try:
            git(self._from, "worktree", "prune")
            git(self._from, *ADD, str(self._top), self._run.commit)
        except GitError as error:
            raise AdaSDEError(f"git cannot make a work tree in {self._top}: {error}") from error

    def _fill(self, project: Path) -> None:
        """The commit's files, the patch, the settings of the run, and DVC's own cache."""
        git(self._top, "reset", "--quiet", "--hard", self._run.commit)
        git(self._top, "clean", "--quiet", "-ffd")
        patch = self._run.setup / PATCH
        if patch.is_file():
            try:
                git(self._top, "apply", "--index", "--whitespace=nowarn", "-", stdin=patch.read_bytes())
            except GitError as error:
                raise AdaSDEError(
                    f"the changes that run {self._run.run_id} was made from do not apply to its commit "
                    f"{self._run.commit}: {error}. The file setup/{PATCH} of the run is damaged; the run "
                    "cannot be reproduced."
                ) from error
        project.mkdir(parents=True, exist_ok=True)
        for name in WRITTEN_BACK:
            if (self._run.setup / name).is_file():
                shutil.copyfile(self._run.setup / name, project / name)
        lock = yaml.safe_load((self._run.setup / "dvc.lock").read_text(encoding="utf-8"))
        inputs = {name: entry for name, entry in lock["stages"].items() if name in INPUTS}
        write_text(project / "dvc.lock", yaml.safe_dump(lock | {"stages": inputs}, sort_keys=False))
        find_project(project)
        self._configure_dvc(project)

    def _configure_dvc(self, project: Path) -> None:
        """A cache of its own, so that nothing comes out of what other runs made; the places of inputs."""
        from dvc.config import Config
        from dvc.repo import Repo

        with Repo(str(self._from)) as repo:
            kept = repo.cache.local_cache_dir
        ours = Config(dvc_dir=str(self._from / ".dvc")).load_one("local")
        local = with_remote(ours, dvc_url(self._from))
        remotes: dict[str, Any] = local["remote"] | {CACHE: {"url": kept}}
        cache = {"dir": str(project / ".dvc" / "cache")}
        (project / ".dvc").mkdir(exist_ok=True)
        with Config(dvc_dir=str(project / ".dvc")).edit("local") as config:
            config["cache"] = cache
            config["core"] = {"site_cache_dir": str(project / ".cache" / "dvc")}
            config["remote"] = {name: remote | {"verify": True} for name, remote in remotes.items()}

    def _bring_inputs(self, place: Place) -> None:
        """From the storage, else from the project's cache; else their stages make them anew."""
        url = dvc_url(self._from)
        sources = {REMOTE: f"the storage {url}"} if url else {}
        for remote, where in (sources | {CACHE: "the project's cache"}).items():
            try:
                words = ("pull", "--remote", remote, *INPUTS)
                run_dvc(words, place.project, env=place.environment)
            except StoreError as error:
                self._say(f"the inputs are not in {where}: {error}")
            else:
                self._say(f"the inputs are from {where}")
                return
        self._say("the inputs are made anew")

    def _mark_path(self) -> Path:
        return Path(text(self._top, "rev-parse", "--absolute-git-dir")) / MARK

    def _mark(self) -> dict[str, Any]:
        try:
            return json.loads(self._mark_path().read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _write_mark(self, *, restored: bool) -> None:
        write_json(self._mark_path(), {"run": self._run.run_id, "restored": restored})
