"""Change of a champion, step by step, so that it is intact whenever a process ends.

The order of writes: the bundle, which nothing names yet; the intention in the audit log; the pointer, which
is the single source of truth; MLflow's tags and alias; the end in the audit log. The next transaction settles
what was interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.config.params import Params, load_params
from adasde.errors import AdaSDEError
from adasde.storage import open_store
from flows.registry.audit import Audit
from flows.registry.champion_store import Champions, Pointer
from flows.system.locks import project_lock
from flows.tracking import versions
from flows.tracking.client import SQLITE, open_client, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAST = {"promote": "promoted", "rollback": "restored by a rollback"}
"""Word in the tag of a version that has become champion."""


@dataclass
class Transaction:
    """Change of the champion of one model and budget.

    Attributes:
        pointer: the champion at the beginning, on which the decision is based; None if there was none.
        notes: what ``settle`` has repaired, in sentences.
        completed: interrupted actions that ``settle`` has completed.
    """

    project: Path
    params: Params
    model: str
    nfe: int
    client: MlflowClient
    champions: Champions
    audit: Audit
    pointer: Pointer | None = None
    notes: tuple[str, ...] = ()
    completed: tuple[str, ...] = ()

    @classmethod
    def begin(
        cls, project: Path, params: Params, client: MlflowClient, *, model: str, nfe: int
    ) -> Transaction:
        """Transaction of one model and budget, its pointer read from the store."""
        champions = Champions(open_store(project=project), versions.registered_name(model, nfe))
        audit = Audit(champions.store, f"{champions.folder}/audit", project)
        return cls(project, params, model, nfe, client, champions, audit, champions.read())

    @property
    def name(self) -> str:
        """The registered model."""
        return self.champions.name

    def settle(self) -> None:
        """Complete or close what was interrupted, and make MLflow agree with the pointer."""
        pointer, notes, completed = self.pointer, [], []
        if pointer is not None:
            notes.append(versions.make_champion(self.client, self.name, pointer.version))
        for intention in self.audit.unfinished():
            if not self.audit.is_over(intention):
                continue
            action, author = intention.get("action", "change"), intention.get("by", "somebody")
            what = f"a {action} of {intention['at'][:19]} by {author} was interrupted"
            if pointer is not None and intention["decision"] in pointer.decisions:
                self._tag_champion(intention)
                self.audit.append(intention["decision"], "done", {"action": action, "note": "settled later"})
                completed.append(action)
                notes.append(f"{what}; it is complete now")
            else:
                self.audit.append(intention["decision"], "abandoned", {"action": action})
                notes.append(f"{what} and had changed nothing; it is closed now")
        self.notes, self.completed = tuple(filter(None, notes)), tuple(completed)

    def commit(self, after: Pointer, record: Mapping[str, Any]) -> None:
        """Replace the pointer by ``after``, and record it in the audit log and in MLflow.

        Raises:
            AdaSDEError: another process has changed the champion since, or does so now; or a write failed.
        """
        replaces = self.pointer.decision if self.pointer else None
        facts = {**record, "replaces": replaces, "pointer": after.to_json()}
        intention = self.audit.append(after.decision, "intended", facts)
        self._require_exclusive(after.decision)
        self.champions.point(after)
        if (found := self.champions.read()) != after:
            self.audit.append(after.decision, "withdrawn", {"action": record["action"]})
            raise self._changed_meanwhile(found)
        try:
            self._tag_champion(intention)
            versions.make_champion(self.client, self.name, after.version)
            self.audit.append(after.decision, "done", {"action": record["action"]})
        except Exception as error:
            raise AdaSDEError(
                f"version {after.version} of {self.name} is champion, {self.champions.address} says so; "
                f"only the record of it failed: {reason(error)}. The next promote, rollback or registry "
                "completes it."
            ) from error

    def tag_version(self, entry: Mapping[str, Any], word: str) -> None:
        """Tag the registered version of an audit entry with its outcome, and its coefficients' checksum."""
        tags = {
            "promotion": f"{word} {entry['at'][:19]} by {entry['by']}",
            "promotion_reasons": "; ".join(entry["reasons"]),
        }
        if pointer := entry.get("pointer"):
            tags["sha256"] = pointer["sha256"]
        versions.note(self.client, self.name, entry["version"], tags)

    def _tag_champion(self, intention: Mapping[str, Any]) -> None:
        if "damaged" not in intention:
            self.tag_version(intention, PAST[intention["action"]])

    def _require_exclusive(self, decision: str) -> None:
        """Withdraw if another process intends a change too, or was quicker; both processes then see it."""
        others = [one for one in self.audit.unfinished() if one["decision"] != decision]
        rivals = [one for one in others if not self.audit.is_over(one)]
        present = self.champions.read()
        if not rivals and present == self.pointer:
            return
        self.audit.append(decision, "withdrawn", {"name": self.name})
        if present != self.pointer:
            raise self._changed_meanwhile(present)
        rival = rivals[0]
        raise AdaSDEError(
            f"{rival.get('by', 'somebody')} is changing the champion of {self.name} too (process "
            f"{rival.get('process', 'unknown')}, since {rival['at'][:19]}), so this change was withdrawn: "
            "nothing was changed. Run the same again when the other has ended; an interrupted one blocks "
            "for five minutes."
        )

    def _changed_meanwhile(self, found: Pointer | None) -> AdaSDEError:
        what = (
            f"version {found.version} of {self.name} was promoted meanwhile by {found.by}"
            if found
            else f"the pointer {self.champions.address} has gone meanwhile"
        )
        return AdaSDEError(f"{what}, so this decision no longer holds. Run the same again to decide anew.")


@contextmanager
def open_transaction(project: Path, model: str, nfe: int) -> Iterator[Transaction]:
    """Transaction that no other process of this project interferes with.

    Raises:
        AdaSDEError: params.yaml, the store or MLflow cannot be used, the model is not registered, or another
            promotion is running.
    """
    params = load_params(project / "params.yaml")
    with project_lock(project, "promotion"), open_registry(project) as client:
        versions.require_model(client, versions.registered_name(model, nfe))
        yield Transaction.begin(project, params, client, model=model, nfe=nfe)


@contextmanager
def open_registry(project: Path) -> Iterator[MlflowClient]:
    """MLflow's client, with the project as the working directory.

    Raises:
        AdaSDEError: MLflow cannot be used, or its database does not exist: none is created.
    """
    uri = os.environ["MLFLOW_TRACKING_URI"]
    with chdir(project):
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
            raise AdaSDEError(
                f"there is no MLflow database {uri.removeprefix(SQLITE)}, so nothing is registered. Run "
                "'adasde run' first, or set MLFLOW_TRACKING_URI to the server that has your models."
            )
        with open_client(uri, doing="use the registry", kept="The champion is as it was") as client:
            yield client
