"""Changing a champion, step by step, so that it is whole whenever a process ends.

The order of writes: the bundle, which nothing names yet; the intention in the audit log; the pointer, which
is the truth; MLflow's tags and alias; the end in the audit log. What was interrupted is settled by the next.
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


@dataclass(frozen=True)
class Transaction:
    """All that promotions of one model and budget work with."""

    project: Path
    params: Params
    model: str
    nfe: int
    client: MlflowClient
    champions: Champions
    audit: Audit

    @property
    def name(self) -> str:
        """The registered model."""
        return self.champions.name


@dataclass(frozen=True)
class Settled:
    """The pointer, what had to be put right, and the actions that were interrupted and are complete now."""

    pointer: Pointer | None
    notes: tuple[str, ...] = ()
    completed: tuple[str, ...] = ()


@contextmanager
def open_transaction(project: Path, model: str, nfe: int) -> Iterator[Transaction]:
    """Everything at hand, and nobody else of this project at work.

    Raises:
        AdaSDEError: params.yaml, the store or MLflow cannot be used, the model is not registered, or another
            promotion is under way.
    """
    params = load_params(project / "params.yaml")
    with project_lock(project, "promotion"), open_registry(project) as client:
        versions.require_model(client, versions.registered_name(model, nfe))
        yield transaction_of(project, params, client, model=model, nfe=nfe)


def transaction_of(
    project: Path, params: Params, client: MlflowClient, *, model: str, nfe: int
) -> Transaction:
    """The desk for one model and budget."""
    champions = Champions(open_store(project=project), versions.registered_name(model, nfe))
    audit = Audit(champions.store, f"{champions.folder}/audit", project)
    return Transaction(project, params, model, nfe, client, champions, audit)


@contextmanager
def open_registry(project: Path) -> Iterator[MlflowClient]:
    """MLflow's client, the project its working directory.

    Raises:
        AdaSDEError: MLflow cannot be used, or its database is not there: none is made.
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


def settle(desk: Transaction) -> Settled:
    """Complete or close what was interrupted, and make MLflow agree with the pointer."""
    pointer = desk.champions.read()
    notes, completed = [], []
    if pointer is not None:
        notes.append(versions.make_champion(desk.client, desk.name, pointer.champion.version))
    for intention in desk.audit.unfinished():
        if not desk.audit.is_over(intention):
            continue
        action = intention.get("action", "change")
        what = f"a {action} of {intention['at'][:19]} by {intention.get('by', 'somebody')} was interrupted"
        if pointer is not None and intention["decision"] in pointer.decisions:
            _tell_mlflow(desk, intention)
            desk.audit.append(intention["decision"], "done", {"action": action, "note": "settled later"})
            completed.append(action)
            notes.append(f"{what}; it is complete now")
        else:
            desk.audit.append(intention["decision"], "abandoned", {"action": action})
            notes.append(f"{what} and had changed nothing; it is closed now")
    return Settled(pointer, tuple(filter(None, notes)), tuple(completed))


def move(desk: Transaction, before: Pointer | None, after: Pointer, record: Mapping[str, Any]) -> None:
    """Make ``after`` the pointer in place of ``before``, and record it.

    Raises:
        AdaSDEError: somebody else has changed the champion since, or does; or a write failed.
    """
    decision = after.champion.decision
    replaces = before.champion.decision if before else None
    facts = {**record, "replaces": replaces, "pointer": after.to_json()}
    intention = desk.audit.append(decision, "intended", facts)
    _require_alone(desk, before, decision)
    desk.champions.point(after)
    if (found := desk.champions.read()) != after:
        desk.audit.append(decision, "withdrawn", {"action": record["action"]})
        raise _meanwhile(desk, found)
    try:
        _tell_mlflow(desk, intention)
        versions.make_champion(desk.client, desk.name, after.champion.version)
        desk.audit.append(decision, "done", {"action": record["action"]})
    except Exception as error:
        raise AdaSDEError(
            f"version {after.champion.version} of {desk.name} is champion, {desk.champions.address} says so; "
            f"only the record of it failed: {reason(error)}. The next promote, rollback or registry "
            "completes it."
        ) from error


PAST = {"promote": "promoted", "rollback": "restored by a rollback"}
"""What a version is told that has become champion."""


def tell_version(desk: Transaction, entry: Mapping[str, Any], word: str) -> None:
    """Write an entry of the audit log onto its registered version, and the checksum of its coefficients."""
    tags = {
        "promotion": f"{word} {entry['at'][:19]} by {entry['by']}",
        "promotion_reasons": "; ".join(entry["reasons"]),
    }
    if pointer := entry.get("pointer"):
        tags["sha256"] = pointer["sha256"]
    versions.note(desk.client, desk.name, entry["version"], tags)


def _tell_mlflow(desk: Transaction, intention: Mapping[str, Any]) -> None:
    if "damaged" not in intention:
        tell_version(desk, intention, PAST[intention["action"]])


def _require_alone(desk: Transaction, before: Pointer | None, decision: str) -> None:
    """Refuse where somebody else has the same intention, or was quicker; both are then told so."""
    others = [one for one in desk.audit.unfinished() if one["decision"] != decision]
    rivals = [one for one in others if not desk.audit.is_over(one)]
    present = desk.champions.read()
    if not rivals and present == before:
        return
    desk.audit.append(decision, "withdrawn", {"name": desk.name})
    if present != before:
        raise _meanwhile(desk, present)
    rival = rivals[0]
    raise AdaSDEError(
        f"{rival.get('by', 'somebody')} is changing the champion of {desk.name} too (process "
        f"{rival.get('process', 'unknown')}, since {rival['at'][:19]}), so this one was withdrawn: nothing "
        "was changed. Run the same again when that has ended; five minutes after it was interrupted it is "
        "no longer waited for."
    )


def _meanwhile(desk: Transaction, found: Pointer | None) -> AdaSDEError:
    what = (
        f"version {found.champion.version} of {desk.name} was promoted meanwhile by {found.champion.by}"
        if found
        else f"the pointer {desk.champions.address} has gone meanwhile"
    )
    return AdaSDEError(f"{what}, so this decision no longer holds. Run the same again to decide anew.")
