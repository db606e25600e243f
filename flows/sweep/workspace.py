"""The working folder of a trial: the project's files, its own params, and the project's DVC cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adasde.errors import AdaSDEError, DataError
from adasde.utils.atomic_io import write_text
from flows.system import environment
from flows.system.subprocesses import Crew

OURS = (".cache", ".git", ".prefect", ".venv", "mlruns", "store", "dvc_plots", "dvc.lock", "params.yaml")
"""Never copied: state, and files that every workspace has of its own. Of `.dvc` only its configuration is."""

DVC_CONFIG = ".dvc/config"


@dataclass(frozen=True)
class Workspace:
    """A copy of the files of ``project`` in ``folder``, without the outputs of stages (``outs``)."""

    project: Path
    folder: Path
    outs: tuple[str, ...]

    @property
    def _mark(self) -> Path:
        """File that exists once the workspace is complete."""
        return self.folder / ".cache" / "workspace"

    def prepare(self, values: Mapping[str, Any], *, crew: Crew, lock: Path) -> None:
        """Create it with ``values`` as params.yaml, and check out the outputs in ``lock`` (a dvc.lock).

        A complete workspace is left as it is, so that finished stages are kept.

        Raises:
            DataError: the disk is full, or DVC cannot check out.
        """
        if self._mark.is_file():
            return
        try:
            self._copy_files(lock)
        except OSError as error:
            raise DataError(
                f"cannot copy the project into {self.folder}: {error.strerror or error}. Free some space or "
                "make the folder writable, then start the same sweep again."
            ) from error
        write_text(self.folder / "params.yaml", yaml.safe_dump(dict(values), sort_keys=False))
        self._configure_dvc()
        if lock.is_file():
            self._check_out(crew)
        write_text(self._mark, f"{self.project}\n")

    def environment(self) -> dict[str, str]:
        """Environment of the stages: settings of the project, code of the workspace."""
        values = dict(os.environ) | environment.settings(self.project, os.environ)
        if (self.folder / "adasde").is_dir():
            others = (value for value in [values.get("PYTHONPATH")] if value)
            values["PYTHONPATH"] = os.pathsep.join((str(self.folder), *others))
        return values

    def _copy_files(self, lock: Path) -> None:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name != ".cache":  # it has the lock that the caller holds
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in project_files(self.project, self.outs):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.project / name, target)
        if lock.is_file():
            shutil.copy2(lock, self.folder / "dvc.lock")

    def _configure_dvc(self) -> None:
        """Configure DVC as for the project on this machine, with its cache, and without git."""
        from dvc.config import Config

        theirs = Config(dvc_dir=str(self.project / ".dvc"))
        cache = theirs.get("cache", {}).get("dir") or self.project / ".dvc" / "cache"
        local = theirs.load_one("local")
        core = {**local.get("core", {}), "no_scm": "true"}
        with Config(dvc_dir=str(self.folder / ".dvc")).edit("local") as mine:
            mine.update(local | {"core": core, "cache": {**local.get("cache", {}), "dir": str(cache)}})

    def _check_out(self, crew: Crew) -> None:
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "checkout", "--force", "--allow-missing"]
        with crew.child(command, cwd=self.folder, env=self.environment()) as child:
            tail = deque((f"  {line}" for line in child.lines() if line.strip()), maxlen=5)
            if child.wait():
                raise DataError(
                    f"DVC cannot check out the unchanged outputs into {self.folder}. Its last lines:\n"
                    + "\n".join(tail)
                    + "\nFix the cause (see `dvc status` in the project), then start the same sweep again."
                )


def project_files(project: Path, outs: tuple[str, ...]) -> list[str]:
    """The files of the project: tracked by git or not ignored; outside git, not in .gitignore.

    Raises:
        AdaSDEError: git fails.
    """
    listed = _git_files(project) if environment.in_git(project) else _plain_files(project)
    return sorted(name for name in listed if _belongs(name, outs) and (project / name).is_file())


def _belongs(name: str, outs: tuple[str, ...]) -> bool:
    if name.startswith(".dvc/"):
        return name == DVC_CONFIG
    first = name.split("/", 1)[0]
    ours = first in OURS or first.startswith("mlflow.db")
    return not ours and not any(f"{name}/".startswith(f"{out}/") for out in outs)


def _git_files(project: Path) -> list[str]:
    command = ["git", "-C", str(project), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AdaSDEError(f"git cannot list the files of {project}: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name]


def _plain_files(project: Path) -> Iterator[str]:
    """Every file that the project's .gitignore does not match; matching folders are skipped."""
    from pathspec import GitIgnoreSpec

    path = project / ".gitignore"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    ignored = GitIgnoreSpec.from_lines([*(f"/{name}" for name in OURS), *lines])
    for folder, folders, files in os.walk(project):
        within = Path(folder).relative_to(project)
        folders[:] = [name for name in folders if not ignored.match_file(f"{within / name}/")]
        yield from (str(within / name) for name in files if not ignored.match_file(str(within / name)))
