"""MLflow clients, and the database and artifact folder of a project, which follow it when it moves."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adasde.errors import AdaSDEError
from adasde.storage.errors import explained_s3, one_line, system_failure
from flows.dvc.remote import mlflow_url
from flows.system.databases import MLFLOW

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
PATHS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
"""The columns in which MLflow stores absolute places of files."""

FOLDER = "mlruns"
"""The project's own folder for them."""


KIND = "mlflow.experimentKind"
"""The tag that makes MLflow's pages show models and metrics instead of conversations."""


DATABASE_LOGGER = "mlflow.store.db.utils"
"""The logger that repeats every database error as a traceback, although it is raised too."""

FILES_OF_RUNS = "keep the files of runs"
STAGES_KEPT = "The stages are done and kept"


@contextmanager
def open_client(uri: str, *, doing: str = FILES_OF_RUNS, kept: str = STAGES_KEPT) -> Iterator[MlflowClient]:
    """A client of the tracking server or database at ``uri``.

    Error messages contain ``doing`` (it completes "cannot ...") and ``kept``, what a failure does not cost.

    Raises:
        AdaSDEError: MLflow fails inside the block, with its reason and what to do.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    if uri.startswith(SQLITE):
        MLFLOW.provide(Path(uri.removeprefix(SQLITE)))
    mlflow.set_tracking_uri(uri)
    if os.environ.get("ADASDE_DEBUG") != "1":
        logging.getLogger(DATABASE_LOGGER).setLevel(logging.CRITICAL)
    try:
        with explained_s3(doing):
            yield mlflow.MlflowClient(uri)
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise AdaSDEError(
            f"MLflow at {uri} failed: {reason(error)}. {kept}: make it reachable and intact, with space on "
            "its disk, or unset MLFLOW_TRACKING_URI for the project's own database; then run the same again."
        ) from error
    except OSError as error:
        raise system_failure(error, doing) from error


def reason(error: BaseException) -> str:
    """The root cause in one line: MLflow wraps it in four layers of retries, each quoting the next."""
    if isinstance(error, AdaSDEError):  # complete as it is
        return one_line(error)
    said, cause = one_line(error), error.__cause__ or error.__context__
    while cause:
        if isinstance(cause, OSError) and cause.strerror:
            said = cause.strerror
        elif isinstance(cause, sqlite3.Error):
            said = str(cause)
        cause = cause.__cause__ or cause.__context__
    return said


def experiment_id(client: MlflowClient, name: str, *, project: Path) -> str:
    """Id of the experiment ``name``, created if missing; its files go into the project or to the server."""
    uri = client.tracking_uri
    place = artifact_root(project, uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(
            name, artifact_location=place, tags={KIND: "custom_model_development"}
        )
    former = found.artifact_location.removesuffix(f"/{found.experiment_id}")  # which a server adds
    if place and uri.startswith(SQLITE) and former != place:
        relocate(Path(uri.removeprefix(SQLITE)), former, place)
    return found.experiment_id


def artifact_root(project: Path, uri: str) -> str | None:
    """URI for the files of runs: the storage or a folder; None where a server decides."""
    if uri.startswith(("http://", "https://", "databricks")):
        return None
    return mlflow_url(project) or (project / FOLDER).as_uri()


def relocate(database: Path, old: str, new: str) -> None:
    """Replace the prefix ``old`` of artifact locations in MLflow's database by ``new``.

    The files of runs move with the project's folder. With a new storage they stay where they are, and only
    later files go there.
    """
    with_project = all(place.endswith(f"/{FOLDER}") for place in (old, new))
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in PATHS if with_project else PATHS[:1]:
            moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
            connection.execute(
                f"{moved} WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
