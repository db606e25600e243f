"""Candidates read from their files: a registered version, and the champion's bundle."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.errors import AdaSDEError, CoefficientsError, DataError, StoreError
from adasde.storage.errors import one_line
from adasde.utils.version import VERSION
from flows.registry.champion_store import METRICS, PROVENANCE, Champions, Pointer
from flows.registry.policy import Candidate, read_row
from flows.tracking.resolver import COEFFICIENTS, registered_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


FORMER_LABEL = "AdaSDE"
"""Row of the student in metrics files from before there could be several."""


def registered(client: MlflowClient, version: ModelVersion, nfe: int) -> Candidate:
    """Candidate of a registered version, its coefficients checked.

    Raises:
        CoefficientsError: the coefficients are damaged, or for another number of evaluations.
        DataError: the version has no metrics, or its coefficients are not the registered ones.
        StoreError: the store of its files fails.
    """
    where = f"version {version.version} of {version.name}"
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: _fetch(client, version, name, Path(folder), where) for name in (COEFFICIENTS, METRICS)}
        _check_coefficients(paths[COEFFICIENTS], nfe, where)
        coefficients, metrics = (path.read_bytes() for path in paths.values())
    known = version.tags.get("sha256")
    if known and known != hashlib.sha256(coefficients).hexdigest():
        raise DataError(
            f"the coefficients of {where} are not those that were registered: their sha256 is not "
            f"{known[:12]}…. Register them again with 'adasde run', or name another version with --candidate."
        )
    provenance = dumped(_provenance(client, version))
    files = {COEFFICIENTS: coefficients, METRICS: metrics, PROVENANCE: provenance}
    return from_files(str(version.version), files, where=where)


def published(champions: Champions, pointer: Pointer) -> Candidate:
    """Candidate of the champion's bundle.

    Raises:
        AdaSDEError: the bundle is damaged; says what to do.
    """
    where = f"the champion, version {pointer.version}"
    return from_files(pointer.version, champions.verify(pointer.bundle), where=where)


def from_files(version: str, files: Mapping[str, bytes], *, where: str) -> Candidate:
    """Candidate of the files of a bundle; messages call it ``where``.

    Raises:
        DataError: the metrics are damaged or missing.
    """
    try:
        coefficients, document = files[COEFFICIENTS], json.loads(files[METRICS])
        return Candidate(
            version,
            sha256=hashlib.sha256(coefficients).hexdigest(),
            weights=str(json.loads(coefficients).get("model", {}).get("sha256", "")),
            protocol=str(document["protocol_hash"]),
            metrics=read_row(document["rows"][document.get("student", FORMER_LABEL)]),
            files={**files, METRICS: dumped(document)},
        )
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{where} has no usable metrics ({error!r}). Register it again with 'adasde run', or name "
            "another version with --candidate."
        ) from error


def with_metrics(candidate: Candidate, document: Mapping[str, Any]) -> Candidate:
    """The same candidate with the numbers of another metrics file."""
    files = {**candidate.files, METRICS: dumped(document)}
    found = from_files(candidate.version, files, where=f"version {candidate.version}")
    return replace(found, rejected=candidate.rejected)


def dumped(document: Mapping[str, Any]) -> bytes:
    """Document as it is stored in a bundle."""
    return json.dumps(document, indent=1, sort_keys=True).encode()


def _fetch(client: MlflowClient, version: ModelVersion, name: str, folder: Path, where: str) -> Path:
    """File of a registered version, from the place where MLflow's runs have it."""
    from mlflow.exceptions import MlflowException

    try:
        return registered_file(client, version, name, folder)
    except StoreError as error:
        if error.kind != "missing":
            raise
        raise DataError(
            f"{where} has no {name}, so there is nothing to evaluate: {one_line(error)}. "
            "Register it with 'adasde run', or name another version with --candidate."
        ) from error
    except (MlflowException, OSError) as error:
        raise AdaSDEError(
            f"{name} of {where} cannot be fetched from MLflow: {one_line(error)}. Name another version "
            "with --candidate, or register it again with 'adasde run'."
        ) from error


def _check_coefficients(path: Path, nfe: int, where: str) -> None:
    from adasde.sampling.coefficients import Coefficients

    try:
        spent = Coefficients.load(path).nfe
    except CoefficientsError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise CoefficientsError(f"the coefficients of {where} cannot be used: {reason}") from error
    if spent != nfe:
        raise CoefficientsError(f"the coefficients of {where} spend {spent} evaluations, not {nfe}.")


def _provenance(client: MlflowClient, version: ModelVersion) -> dict[str, Any]:
    """Origin of a version, without anything that changes later."""
    known = {"name": version.name, "version": str(version.version), "adasde": VERSION}
    if not version.run_id:
        return known
    run = client.get_run(version.run_id)
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    return known | {"run_id": version.run_id, "tags": tags, "params": dict(run.data.params)}
