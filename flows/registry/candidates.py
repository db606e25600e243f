"""The two that are compared: a registered version, and the champion's bundle, with the files of each."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.config.params import STUDENT
from adasde.errors import AdaSDEError, DataError, StoreError
from adasde.storage.errors import one_line
from adasde.utils.version import VERSION
from flows.registry.champion_store import METRICS, PROVENANCE, Champions, Promoted
from flows.registry.policy import Candidate, read_row
from flows.tracking.resolver import COEFFICIENTS, registered_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Contender:
    """A version of a model: its coefficient file, what was measured, and where it comes from.

    Attributes:
        about: its numbers, as the decision takes them.
        metrics: the metrics file behind them.
        provenance: the run that made it.
    """

    about: Candidate
    coefficients: bytes
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @classmethod
    def of(
        cls, version: str, coefficients: bytes, metrics: bytes, *, provenance: Mapping[str, Any], where: str
    ) -> Contender:
        """From the bytes of a coefficient file and a metrics file; messages call it ``where``.

        Raises:
            DataError: the metrics are not whole.
        """
        sha256 = hashlib.sha256(coefficients).hexdigest()
        try:
            document = json.loads(metrics)
            row = read_row(document["rows"][STUDENT])
            protocol = str(document["protocol_hash"])
            weights = str(json.loads(coefficients).get("model", {}).get("sha256", ""))
        except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{where} has no usable metrics ({error!r}). Register it again with 'adasde run', or name "
                "another version with --candidate."
            ) from error
        return cls(Candidate(version, sha256, weights, protocol, row), coefficients, document, provenance)

    def measured_again(self, metrics: Mapping[str, Any]) -> Contender:
        """The same with the numbers of another metrics file."""
        row = read_row(metrics["rows"][STUDENT])
        about = replace(self.about, protocol=metrics["protocol_hash"], metrics=row)
        return replace(self, about=about, metrics=metrics)

    def files(self) -> dict[str, bytes]:
        """What is published of it."""
        documents = {METRICS: self.metrics, PROVENANCE: self.provenance}
        texts = {name: json.dumps(value, indent=1, sort_keys=True) for name, value in documents.items()}
        return {COEFFICIENTS: self.coefficients} | {name: text.encode() for name, text in texts.items()}


def registered(client: MlflowClient, version: ModelVersion, nfe: int) -> Contender:
    """A registered version, its coefficients checked.

    Raises:
        CoefficientsError: they are no whole table, or for another number of evaluations.
        DataError: it has no metrics, or is not what was registered.
        StoreError: the store of its files fails.
    """
    where = f"version {version.version} of {version.name}"
    with tempfile.TemporaryDirectory() as folder:
        files = _bring(client, version, Path(folder), where)
        _check_table(files[COEFFICIENTS], nfe, where)
        data = files[COEFFICIENTS].read_bytes()
        metrics = files[METRICS].read_bytes()
    known = version.tags.get("sha256")
    if known and known != hashlib.sha256(data).hexdigest():
        raise DataError(
            f"the coefficients of {where} are not those that were registered: their sha256 is not "
            f"{known[:12]}…. Register them again with 'adasde run', or name another version with --candidate."
        )
    provenance = _provenance(client, version)
    return Contender.of(str(version.version), data, metrics, provenance=provenance, where=where)


def published(champions: Champions, promoted: Promoted) -> Contender:
    """The champion as its bundle has it.

    Raises:
        AdaSDEError: the bundle is not whole; says what to do.
    """
    try:
        files = champions.verify(promoted.bundle)
        return Contender.of(
            promoted.version,
            files[COEFFICIENTS],
            files[METRICS],
            provenance=json.loads(files[PROVENANCE]),
            where=f"the champion, version {promoted.version}",
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"the bundle {promoted.bundle} is not whole: {error!r}.") from error


def _bring(client: MlflowClient, version: ModelVersion, folder: Path, where: str) -> dict[str, Path]:
    """The files that a decision needs, from wherever MLflow's runs have them."""
    from mlflow.exceptions import MlflowException

    files = {}
    for name in (COEFFICIENTS, METRICS):
        try:
            files[name] = registered_file(client, version, name, folder)
        except StoreError as error:
            if error.kind != "missing":
                raise
            raise DataError(
                f"{where} has no {name}, so there is nothing to judge it by: {one_line(error)}. "
                "Register it with 'adasde run', or name another version with --candidate."
            ) from error
        except (MlflowException, OSError) as error:
            raise AdaSDEError(
                f"{name} of {where} cannot be had from MLflow: {one_line(error)}. Name another version "
                "with --candidate, or register it again with 'adasde run'."
            ) from error
    return files


def _check_table(path: Path, nfe: int, where: str) -> None:
    from adasde.errors import CoefficientsError
    from adasde.sampling.coefficients import Coefficients

    try:
        spent = Coefficients.load(path).nfe
    except CoefficientsError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise CoefficientsError(f"the coefficients of {where} cannot be used: {reason}") from error
    if spent != nfe:
        raise CoefficientsError(f"the coefficients of {where} spend {spent} evaluations, not {nfe}.")


def _provenance(client: MlflowClient, version: ModelVersion) -> dict[str, Any]:
    """Who made the version: all that does not change when it is asked for again."""

    known = {"name": version.name, "version": str(version.version), "adasde": VERSION}
    if not version.run_id:
        return known
    run = client.get_run(version.run_id)
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    return known | {"run_id": version.run_id, "tags": tags, "params": dict(run.data.params)}
