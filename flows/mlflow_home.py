"""Where MLflow keeps things: the database and the files of the project, also after the project has moved."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adasde.errors import AdaSDEError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
PATHS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
"""The columns in which MLflow stores absolute places of files."""


@contextmanager
def open_client(uri: str) -> Iterator[MlflowClient]:
    """A client of the tracking server or database at ``uri``.

    Raises:
        AdaSDEError: MLflow fails inside the block, with its reason and what to do.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    mlflow.set_tracking_uri(uri)
    try:
        yield mlflow.MlflowClient(uri)
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise AdaSDEError(
            f"MLflow at {uri} failed: {error}. The stages are done and kept: make it reachable and whole "
            "(or unset MLFLOW_TRACKING_URI to use the project's own database) and start the same again."
        ) from error


def experiment_id(client: MlflowClient, name: str, *, project: Path) -> str:
    """The experiment of that name, made if need be; files go into the project unless a server has them."""
    uri = client.tracking_uri
    place = artifact_root(project, uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=place)
    if place and uri.startswith(SQLITE) and found.artifact_location != place:
        relocate(Path(uri.removeprefix(SQLITE)), found.artifact_location, place)
    return found.experiment_id


def artifact_root(project: Path, uri: str) -> str | None:
    """The folder for the files of runs as a URI; None where a server decides."""
    return None if uri.startswith(("http://", "https://", "databricks")) else (project / "mlruns").as_uri()


def relocate(database: Path, old: str, new: str) -> None:
    """Replace the beginning ``old`` of paths in MLflow's database by ``new``: the project was moved."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in PATHS:
            moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
            connection.execute(
                f"{moved} WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
