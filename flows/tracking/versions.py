"""MLflow's model registry: versions of coefficients and the aliases challenger and champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adasde.errors import AdaSDEError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"
CHAMPION = "champion"
LONGEST_TAG = 4000


def registered_name(model: str, nfe: int) -> str:
    """The name under which the coefficients of a model and a budget are registered."""
    return f"adasde-{model}-nfe{nfe}"


def ensure_challenger(
    client: MlflowClient, name: str, run_id: str, *, source: str, tags: Mapping[str, str]
) -> str:
    """The version of model ``name`` made by the run, registered if need be, as ``challenger``; its number.

    ``source`` is the folder with the coefficients; ``tags`` (metrics) go onto a new version.
    """
    version = ensure_version(client, name, run_id, source=source, tags=tags)
    if alias_of(client, name, CHALLENGER) != version:
        client.set_registered_model_alias(name, CHALLENGER, version)
    return version


def ensure_version(
    client: MlflowClient, name: str, run_id: str, *, source: str, tags: Mapping[str, str]
) -> str:
    """The same version without the alias."""
    version = find_version(client, name, run_id)
    if version is None:
        _ensure_model(client, name)
        version = str(client.create_model_version(name, source, run_id=run_id, tags=dict(tags)).version)
    return version


def find_version(client: MlflowClient, name: str, run_id: str) -> str | None:
    """The newest version of model ``name`` that the run made, or None."""
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return max((str(version.version) for version in versions), key=int, default=None)


def alias_of(client: MlflowClient, name: str, alias: str) -> str | None:
    """The version that has the alias, or None."""
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def find_candidate(client: MlflowClient, name: str, number: int | None) -> ModelVersion:
    """That version of model ``name``; without a number the challenger.

    Raises:
        AdaSDEError: there is no such model, version or challenger; the message lists those that exist.
    """
    wanted = alias_of(client, name, CHALLENGER) if number is None else str(number)
    found = find_exact(client, name, wanted) if wanted else None
    if found is not None:
        return found
    there = ", ".join(str(version.version) for version in all_versions(client, name)) or "none"
    if wanted is None:
        raise AdaSDEError(
            f"{name} has no {CHALLENGER}, the alias that 'adasde run' sets. Run it, or name a version with "
            f"--candidate (there is: {there})."
        )
    raise AdaSDEError(f"{name} has no version {wanted}. Name another with --candidate (there is: {there}).")


def require_model(client: MlflowClient, name: str) -> None:
    """Refuse a model that is not registered (AdaSDEError)."""
    known = {model.name for model in client.search_registered_models(f"name = '{name}'")}
    if name not in known:
        there = ", ".join(all_models(client)) or "none"
        raise AdaSDEError(
            f"MLflow at {client.tracking_uri} has no model {name} (there is: {there}). Check MODEL, --nfe "
            "and MLFLOW_TRACKING_URI; 'adasde run' registers the budgets of params.yaml."
        )


def all_models(client: MlflowClient) -> list[str]:
    """The names of all models that ``registered_name`` can have made."""
    return sorted(
        model.name for model in client.search_registered_models("name LIKE 'adasde-%'", max_results=1000)
    )


def all_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """The versions of a model, the newest first; those do not know their aliases."""
    versions = client.search_model_versions(f"name = '{name}'", max_results=10_000)
    return sorted(versions, key=lambda version: -int(version.version))


def find_exact(client: MlflowClient, name: str, number: str) -> ModelVersion | None:
    """That version, or None."""
    found = client.search_model_versions(f"name = '{name}' and version_number = {number}")
    return found[0] if found else None


def make_champion(client: MlflowClient, name: str, number: str) -> str:
    """Move the alias ``champion`` to that version; a description of the change, or nothing."""
    before = alias_of(client, name, CHAMPION)
    if before == number:
        return ""
    if find_exact(client, name, number) is None:
        if before is not None:
            client.delete_registered_model_alias(name, CHAMPION)
        return f"version {number} is champion, but MLflow has lost it: no version has the alias {CHAMPION}"
    client.set_registered_model_alias(name, CHAMPION, number)
    there = f"at version {before}" if before else "nowhere"
    return f"the alias {CHAMPION} in MLflow was {there}; it is at version {number} now"


def note(client: MlflowClient, name: str, number: str, tags: Mapping[str, str]) -> None:
    """Write tags onto a version, if MLflow has it."""
    if find_exact(client, name, number) is not None:
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value[:LONGEST_TAG])


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="Coefficients distilled for one model and budget.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
