"""A recorded MLflow run: its commit, files, hashes and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adasde.errors import AdaSDEError
from flows.dvc import graph
from flows.tracking.client import open_client
from flows.tracking.provenance.provenance import LOCK, MACHINE, SETUP

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers where there is no such run."""


@dataclass(frozen=True)
class SourceRun:
    """A run, with the files that it was made from.

    Attributes:
        commit: of the project's repository.
        nfe: the budget whose numbers it shows.
        student: the student; empty in a run from before there could be several.
        metrics: name -> last value.
        setup: a folder with a copy of the run's folder ``setup``.
    """

    run_id: str
    commit: str
    nfe: int
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    setup: Path
    student: str = ""

    @property
    def hashes(self) -> dict[str, dict[str, str]]:
        """Stage name -> path of an output -> MD5."""
        return graph.output_hashes(self.setup)

    @property
    def requirements(self) -> str | None:
        """The text of its requirements.lock; None where it has none."""
        path = self.setup / LOCK
        return path.read_text(encoding="utf-8") if path.is_file() else None

    @property
    def machine(self) -> dict[str, str]:
        """The facts of the machine that it was made on; none of an older run."""
        path = self.setup / MACHINE
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def find(uri: str, run_id: str, folder: Path) -> SourceRun:
    """The run at the tracking server or database ``uri``; its files are copied into ``folder``.

    Raises:
        AdaSDEError: there is no such run, it was made outside git, or it lacks its dvc.lock.
    """
    with open_client(uri, doing="get the files of the run", kept="Nothing was changed") as client:
        run = _get(client, run_id)
        if any(file.path == SETUP for file in client.list_artifacts(run_id)):
            client.download_artifacts(run_id, SETUP, str(folder))
    tags, setup = run.data.tags, folder / SETUP
    if not tags.get("git_commit"):
        raise AdaSDEError(
            f"run {run_id} was made outside git, so the code that made it is unknown. Put the project "
            "under git and commit it: runs made from then on can be reproduced."
        )
    if not (setup / "dvc.lock").is_file() or not tags.get("nfe", "").isdigit():
        raise AdaSDEError(
            f"run {run_id} has no {SETUP}/dvc.lock among its files, which lists what its stages made: it is "
            f"unfinished or no run of `adasde run`, or the file was deleted. Take another run of {uri}: "
            "every finished one carries it."
        )
    numbers = run.data.metrics
    return SourceRun(
        run_id, tags["git_commit"], int(tags["nfe"]), numbers, tags, setup, tags.get("student", "")
    )


def _get(client: MlflowClient, run_id: str) -> Run:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in UNKNOWN:
            raise
        raise AdaSDEError(
            f"MLflow at {client.tracking_uri} has no run {run_id}. The id of a run stands on its page in the "
            "MLflow UI, and `adasde run --json` prints it; MLFLOW_TRACKING_URI chooses another server."
        ) from error
