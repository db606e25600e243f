"""Fixtures: projects with DVC's real graph and toy commands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
import yaml
from projects import ROOT, Project, make_project

from flows.system import environment


@pytest.fixture(scope="session", autouse=True)
def _no_telemetry() -> None:
    """Also where a test imports MLflow itself."""
    os.environ.update(environment.ALWAYS)


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Makes projects whose stages have the real graph and toy commands."""

    def make() -> Project:
        project = make_project(tmp_path_factory.mktemp("toy"), nfe=[3, 5])
        shutil.copy(ROOT / "tests/support/toy.py", project.root)
        document = yaml.safe_load((ROOT / "dvc.yaml").read_text())
        for stage in document["stages"].values():
            stage["cmd"] = stage["cmd"].replace("adasde ", "python toy.py ", 1)
            stage["deps"] = [path for path in stage["deps"] if not path.startswith("adasde/")]
        (project.root / "dvc.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        return project

    return make
