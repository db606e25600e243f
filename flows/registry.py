"""Registered models: the coefficients of a run become a version, and the version the challenger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER = "challenger"


def ensure_challenger(
    client: MlflowClient, name: str, run_id: str, *, source: str, tags: Mapping[str, str]
) -> str:
    """The version of model ``name`` made by the run, registered if need be, as ``challenger``; its number.

    ``source`` is the folder with the coefficients; ``tags`` (metrics) go onto a new version.
    """
    version = find_version(client, name, run_id)
    if version is None:
        _ensure_model(client, name)
        version = str(client.create_model_version(name, source, run_id=run_id, tags=dict(tags)).version)
    if alias_of(client, name, CHALLENGER) != version:
        client.set_registered_model_alias(name, CHALLENGER, version)
    return version


def find_version(client: MlflowClient, name: str, run_id: str) -> str | None:
    """The newest version of model ``name`` that the run made, or None."""
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return max((str(version.version) for version in versions), key=int, default=None)


def alias_of(client: MlflowClient, name: str, alias: str) -> str | None:
    """The version that has the alias, or None."""
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="Coefficients distilled for one model and budget.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
