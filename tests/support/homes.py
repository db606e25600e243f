"""Projects with registered versions: in MLflow's real registry, or in one of memory that is quick."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import tiny_values, write_params

from adasde.storage import LocalStore, read_pointed
from flows.registry import service, transaction
from flows.registry.audit import Audit
from flows.registry.candidates import dumped, from_files
from flows.registry.champion_store import Champions
from flows.registry.policy import Candidate
from flows.registry.service import PromotionResult
from flows.tracking.versions import alias_of, ensure_challenger, registered_name

MODEL = "digits"
PROTOCOL = "f" * 64
WEIGHTS = "0" * 64


def metrics(fid: float, *, protocol: str = PROTOCOL) -> dict[str, Any]:
    """A metrics file as the stage ``evaluate`` writes it."""
    values = [fid - 0.001, fid, fid + 0.001]
    numbers = {"mean": fid, "spread": 0.001, "values": values}
    row = {"fid": numbers, "kid": 0.01, "precision": 0.8, "recall": 0.8, "nfe": 5}
    return {"model": "digits", "protocol": {}, "protocol_hash": protocol, "rows": {"AdaSDE": row}, "nfe": 5}


class Home:
    """A project folder, its own store, and what is registered there (``client``)."""

    client: Any

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        write_params(root, tiny_values())

    def champions(self, model: str) -> Champions:
        """Those of the project's own store."""
        return Champions(LocalStore(self.root / "store"), registered_name(model, 5))

    def audit(self, model: str) -> Audit:
        """The log of the same."""
        champions = self.champions(model)
        return Audit(champions.store, f"{champions.folder}/audit", self.root)

    def states(self, model: str) -> list[str]:
        """The states in the log, in order."""
        return [entry["state"] for entry in self.audit(model).entries()]

    def champion(self, model: str) -> str | None:
        """The champion in the store, verified and readable for its users; or None."""
        champions = self.champions(model)
        pointer = champions.read()
        if pointer is None:
            return None
        files = champions.verify(pointer.bundle)
        _, data = read_pointed(champions.address)
        assert data == files["coefficients.json"]
        assert json.loads(files["provenance.json"])["version"] == pointer.version
        return pointer.version

    def alias(self, model: str, name: str = "champion") -> str | None:
        """The version that has MLflow's alias."""
        return alias_of(self.client, registered_name(model, 5), name)

    def tags(self, model: str, version: str) -> dict[str, str]:
        """Those of a version."""
        (found,) = self.client.search_model_versions(
            f"name = '{registered_name(model, 5)}' and version_number = {version}"
        )
        return found.tags


class RealHome(Home):
    """With MLflow's registry in the project's database; sets MLFLOW_TRACKING_URI."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow.db"
        from mlflow import MlflowClient

        self.client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])

    def add(
        self, model: str, fid: float, *, steps: int = 3, without: str = "", protocol: str = PROTOCOL
    ) -> str:
        """Register as the challenger what a run would have made; the version."""
        from adasde.sampling.coefficients import Coefficients, neutral
        from adasde.sampling.schedules import schedule
        from adasde.utils.atomic_io import sha256_file
        from flows.tracking.client import experiment_id

        plain = neutral(schedule("time_uniform", steps), afs=True)
        table = Coefficients(**(vars(plain) | {"provenance": {"mark": fid}, "model": {"sha256": WEIGHTS}}))
        experiment = experiment_id(self.client, f"adasde-{model}", project=self.root)
        run = self.client.create_run(experiment, tags={"git_commit": "c" * 40}).info.run_id
        folder = self.root / "made" / run
        folder.mkdir(parents=True)
        table.save(folder / "coefficients.json")
        (folder / "metrics.json").write_text(json.dumps(metrics(fid, protocol=protocol)))
        tags = {"fid": str(fid), "fid_spread": "0.001", "protocol_hash": protocol}
        tags["sha256"] = sha256_file(folder / "coefficients.json")
        if without:
            (folder / without).unlink()
        self.client.log_artifacts(run, str(folder), "coefficients")
        source = f"runs:/{run}/coefficients"
        return ensure_challenger(self.client, registered_name(model, 5), run, source=source, tags=tags)


@dataclass
class Memory:
    """The few calls of MLflow's client that promotions make; names have no quotes."""

    tracking_uri: str = "memory"
    versions: dict[str, list[Any]] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)

    def search_registered_models(self, query: str, max_results: int = 0) -> list[Any]:
        words = query.split("'")[1].rstrip("%")
        return [SimpleNamespace(name=name) for name in self.versions if name.startswith(words)]

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(aliases=dict(self.aliases[name]))

    def search_model_versions(self, query: str, max_results: int = 0) -> list[Any]:
        found = self.versions.get(query.split("'")[1], [])
        number = query.rpartition("version_number = ")[2]
        return [version for version in found if not number.isdigit() or version.version == number]

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.aliases[name][alias] = version

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        del self.aliases[name][alias]

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        (found,) = self.search_model_versions(f"'{name}' version_number = {version}")
        found.tags[key] = value

    def delete_model_version(self, name: str, version: str) -> None:
        self.versions[name] = [one for one in self.versions[name] if one.version != version]


class QuickHome(Home):
    """With a registry in memory, put in the place of MLflow's by ``patch``."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        self.client = Memory()
        self._made: dict[tuple[str, str], Candidate] = {}
        patch.setattr(transaction, "open_registry", self.open_registry)
        patch.setattr(
            service, "registered", lambda _, version, nfe: self._made[version.name, version.version]
        )

    @contextmanager
    def open_registry(self, project: Path) -> Iterator[Memory]:
        """Stands in for ``transaction.open_registry``."""
        yield self.client

    def add(self, model: str, fid: float, *, weights: str = WEIGHTS, protocol: str = PROTOCOL) -> str:
        """Register a version, as the challenger."""
        name = registered_name(model, 5)
        versions = self.client.versions.setdefault(name, [])
        number = str(len(self._made) + 1)
        tags = {"fid": str(fid), "fid_spread": "0.001", "protocol_hash": protocol}
        versions.append(
            SimpleNamespace(name=name, version=number, run_id=None, tags=tags, creation_timestamp=1000)
        )
        self.client.aliases.setdefault(name, {})["challenger"] = number
        files = {
            "coefficients.json": {"mark": fid, "model": {"sha256": weights}},
            "metrics.json": metrics(fid, protocol=protocol),
            "provenance.json": {"name": name, "version": number},
        }
        stored = {file: dumped(document) for file, document in files.items()}
        self._made[name, number] = from_files(number, stored, where=f"version {number}")
        return number


def promoted(home: Home, **options: Any) -> PromotionResult:
    """Promote at 5 evaluations."""
    return service.promote(home.root, MODEL, 5, **options)


def rolled_back(home: Home, reason: str = "") -> PromotionResult:
    """Roll back at 5 evaluations."""
    return service.rollback(home.root, MODEL, 5, reason=reason)
