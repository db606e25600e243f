"""Fixtures: one thread, params of a few seconds, a project folder in which the stages have run."""

from __future__ import annotations

import importlib
import io
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command import ROOT, adasde
from s3_server import bucket_url, s3_server  # noqa: F401 (fixtures)
from tiny import STAGES, tiny_values, write_params

from adasde.config.params import Params, check_params


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with servers or long tests first: the short ones then fill the cores until the end."""
    heavy = {
        item.path
        for item in items
        if item.get_closest_marker("integration") or item.get_closest_marker("long")
    }
    items.sort(key=lambda item: item.path not in heavy)


@pytest.fixture(autouse=True, scope="session")
def _environment() -> None:
    """Small networks are fastest on one thread; children of the tests inherit the environment."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".cache/matplotlib"))  # nothing outside the project
    os.environ.pop("ADASDE_STORAGE_URL", None)
    torch.set_num_threads(1)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started with `&`: children would never see Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _same_variables() -> Iterator[None]:
    """What a test sets in the environment, or MLflow's set_tracking_uri there and in itself, ends with it."""
    before = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
    for name in [name for name in os.environ if name not in before and not name.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def values() -> dict[str, Any]:
    """A fresh copy of the tiny params.yaml."""
    return tiny_values()


@pytest.fixture(scope="session")
def params() -> Params:
    """The tiny params, checked."""
    return check_params(tiny_values())


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run with the tiny params; do not change it, copy it."""
    from adasde.evaluation.features import fidelity
    from adasde.report.plots import new_figure

    fidelity()  # imported here once, not in every child; as are the fonts
    importlib.import_module("sklearn.datasets")
    new_figure(1, 1).savefig(io.BytesIO(), format="png")
    folder = tmp_path_factory.mktemp("finished")
    write_params(folder, tiny_values())
    for command in STAGES.values():
        ended = adasde(command, folder)
        assert ended.code == 0, (command, ended.err)
    return folder


@pytest.fixture
def project(finished_project: Path, tmp_path: Path) -> Path:
    """A copy of ``finished_project`` that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(finished_project, folder)
    return folder
