"""Resolution of ``models:/`` addresses (entry point ``adasde.resolvers``): files of registered versions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from adasde.errors import StoreError
from adasde.storage import local_copy
from adasde.storage.base import require
from adasde.storage.errors import one_line
from adasde.storage.resolve import scheme

COEFFICIENTS = "coefficients.json"
"""The file that the address of a registered version means."""


def resolve(spec: str, folder: Path) -> Path:
    """The coefficients of a registered version, ``models:/name@alias`` or ``models:/name/3``."""
    for variable in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        os.environ.setdefault(variable, "true")
    try:
        from mlflow import MlflowClient, get_tracking_uri
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{spec} needs {error.name}, which the plain package does not include. Install it with: "
            "pip install 'adasde[pipeline]'"
        ) from error
    database = get_tracking_uri().removeprefix("sqlite:///")
    if database != get_tracking_uri() and not Path(database).is_file():
        raise StoreError(
            f"cannot get {spec}: there is no MLflow database {database}. Run this in the project folder, or "
            "set MLFLOW_TRACKING_URI.",
            kind="missing",
        )
    try:
        version = _version(MlflowClient(), spec)
        path = registered_file(MlflowClient(), version, COEFFICIENTS, folder)
    except (MlflowException, OSError) as error:
        raise StoreError(
            f"cannot get {spec} from MLflow: {one_line(error)}. Check the name, the alias and "
            "MLFLOW_TRACKING_URI; 'adasde run' registers versions, and MLflow's own page shows them.",
            kind="missing",
        ) from error
    if "sha256" in version.tags:
        require(path, spec, version.tags["sha256"])
    return path


def _version(client: Any, spec: str) -> Any:
    """The version that ``spec`` names by alias or number."""
    name, _, alias = spec.removeprefix("models:/").partition("@")
    if alias:
        return client.get_model_version_by_alias(name, alias)
    name, _, number = name.rpartition("/")
    if name and number.isdigit():
        return client.get_model_version(name, number)
    raise StoreError(
        f"{spec!r} names no version: say models:/NAME@ALIAS or models:/NAME/NUMBER, for instance "
        "models:/adasde-digits-nfe5@champion.",
        kind="name",
    )


def registered_file(client: Any, version: Any, name: str, folder: Path) -> Path:
    """The file ``name`` of a registered version: where it lies, or a copy in ``folder``.

    MLflow downloads it only where its server proxies the files; it hides why a bucket or a disk refuses.

    Raises:
        StoreError: it is not there, or its store fails.
        MlflowException, OSError: MLflow fails.
    """
    place = client.get_model_version_download_uri(version.name, version.version)
    if place.startswith("runs:/"):
        from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

        place = RunsArtifactRepository.get_underlying_uri(place)
    address = f"{place.rstrip('/')}/{name}"
    if scheme(address) in (None, "file", "s3"):
        return local_copy(address, folder)
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(artifact_uri=address, dst_path=str(folder)))
