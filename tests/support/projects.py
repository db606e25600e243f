"""Project folders for the tests of the flow, as a user has them after unpacking an archive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from tiny import tiny_values, write_params
from waiting import eventually

from adasde.config.params import check_params
from flows.servers.service import answers, free_port

ROOT = Path(__file__).parents[2]
ADASDE = Path(sys.executable).with_name("adasde")
OURS = ("PREFECT_", "MLFLOW_", "DVC_", "ADASDE_", "XDG_", "GIT_", "PYTEST_", "MPLCONFIGDIR", "TORCH_HOME")


@dataclass(frozen=True)
class Project:
    """A project folder beside an empty home folder."""

    root: Path
    home: Path
    api: str = ""  # a Prefect server for its commands; empty: each starts a temporary one
    server: subprocess.Popen[bytes] | None = None  # the process of that server

    def environment(self) -> dict[str, str]:
        """That of a user who has set nothing, with a home and a folder for temporary files of his own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        server = {"PREFECT_API_URL": self.api} if self.api else {}
        own = {"HOME": str(self.home), "TMPDIR": str(self.home / "tmp"), "OMP_NUM_THREADS": "1"}
        return kept | own | server

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``adasde`` in the project; its output is piped."""
        return subprocess.Popen(
            [str(ADASDE), *arguments],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def adasde(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``adasde``; it must end with ``code``."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self) -> dict:
        """``adasde run --json``."""
        return json.loads(self.adasde("run", "--json").stdout)

    def params(self, *path: str, value: object) -> None:
        """Change one value of params.yaml."""
        file = self.root / "params.yaml"
        values = yaml.safe_load(file.read_text())
        inner = values
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        file.write_text(yaml.safe_dump(values))


@contextmanager
def with_prefect(project: Project) -> Iterator[Project]:
    """The project beside a Prefect server on its own database, so that commands start none."""
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    state = {"PREFECT_HOME": str(project.root / ".prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment = project.environment() | state | {"PREFECT_UI_ENABLED": "0"}
    api = f"http://127.0.0.1:{port}/api"
    outside = project.home.parent  # so that no process works in the project itself
    with subprocess.Popen(command, cwd=outside, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: answers(f"{api}/health"), 120)
            yield replace(project, api=api, server=server)
        finally:
            server.terminate()


def make_project(folder: Path, *, nfe: list[int]) -> Project:
    """A copy of the project as an unpacked archive has it: no .git, nothing made by a run."""
    project = Project(folder / "a project", folder / "home")
    project.root.mkdir()
    (project.home / "tmp").mkdir(parents=True)
    for name in (".dvcignore", "dvc.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, project.root)
    (project.root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", project.root / ".dvc")
    write_params(project.root, check_params(tiny_values() | {"nfe": nfe}).model_dump())
    return project
