"""Provenance of a run: files, commit, uncommitted changes, packages, machine."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from adasde.utils.atomic_io import sha256_file
from flows.tracking.provenance import machine
from flows.tracking.provenance.git import GitError, WorkTree

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETUP = "setup"
"""The artifact folder of these files."""

LOCK = "requirements.lock"
PATCH = "tree.diff"
MACHINE = "machine.json"
FILES = ("params.yaml", "dvc.yaml", "dvc.lock", LOCK)
LONGEST = 1000
"""Length limit of the tag with the uncommitted changes."""


@dataclass(frozen=True)
class Provenance:
    """Provenance of a project's outputs, computed once for all runs that are logged together.

    Attributes:
        project: the folder with the outputs.
        original: the project of which that folder is a workspace; None: it is the project itself.
    """

    project: Path
    original: Path | None = None

    @cached_property
    def _tree(self) -> WorkTree:
        return WorkTree(self.original or self.project)

    @cached_property
    def machine(self) -> dict[str, str]:
        """The facts of this machine."""
        return machine.facts()

    @cached_property
    def patch(self) -> bytes:
        """Patch from the commit to the present files; empty outside git."""
        return self._tree.patch if self._tree.commit else b""

    @cached_property
    def tags(self) -> dict[str, str]:
        """Commit, uncommitted changes, packages and machine as tags of a run."""
        about = {f"machine/{name}": value for name, value in self.machine.items()}
        return self._git_tags() | self._package_tags() | about

    def _git_tags(self) -> dict[str, str]:
        tree = self._tree
        if tree.commit is None:
            return {}
        tags = {"git_commit": tree.commit, "mlflow.source.git.commit": tree.commit}
        try:
            tags["git_dirty"] = str(bool(tree.patch or tree.left_out)).lower()
            if tree.patch:
                tags["warning"] = f"made from files that differ from the commit: see {SETUP}/{PATCH}"
                tags["git_diff"] = _shortened(tree.summary)
            if tree.left_out:
                tags["git_left_out"] = _shortened("\n".join(tree.left_out))
        except (GitError, OSError) as error:
            tags |= {"git_dirty": "true", "warning": f"what differs from the commit is unknown: {error}"}
        return tags

    def _package_tags(self) -> dict[str, str]:
        lock = self.project / LOCK
        if not lock.is_file():
            return {}
        others = machine.other_packages(lock.read_text(encoding="utf-8"))
        tags = {"requirements_sha256": sha256_file(lock), "packages_match": str(not others).lower()}
        return tags | ({"packages_other": _shortened(machine.summary(others))} if others else {})

    def log_files(self, client: MlflowClient, run_id: str) -> None:
        """Log the files that are needed to reproduce the run into its folder ``setup``."""
        for name in FILES:
            if (self.project / name).is_file():
                client.log_artifact(run_id, str(self.project / name), SETUP)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, MACHINE).write_text(json.dumps(self.machine, indent=1), encoding="utf-8")
            if self.tags.get("git_diff"):
                Path(folder, PATCH).write_bytes(self.patch)
            client.log_artifacts(run_id, folder, SETUP)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"
