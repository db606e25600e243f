"""Overview of the registry: versions, aliases, metrics, and every decision about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adasde.config.params import load_params
from adasde.report.table import Table, row
from flows.registry.transaction import Transaction, open_registry
from flows.system.locks import BusyError, project_lock
from flows.tracking.versions import all_models, all_versions

NAME = re.compile(r"adasde-(.+)-nfe(\d+)")
"""Registered names; see ``flows.tracking.versions.registered_name``."""

SHOWN = 20
"""Decisions in the table."""

READ = 200
"""Entries that are read of each model's log."""

Document = dict[str, Any]


def list_models(project: Path, model: str | None = None, nfe: int | None = None) -> list[Document]:
    """All or the given models: champion, versions (the newest first), decisions (the oldest first).

    Each model is settled first (``Transaction.settle``), unless a promotion is under way.

    Raises:
        AdaSDEError: params.yaml, the store or MLflow cannot be used.
    """
    params = load_params(project / "params.yaml")
    with ExitStack() as held:
        client = held.enter_context(open_registry(project))
        try:
            held.enter_context(project_lock(project, "promotion"))
            busy = ""
        except BusyError as error:
            busy = str(error)
        found = []
        for name in all_models(client):
            parts = NAME.fullmatch(name)
            if parts and model in (None, parts[1]) and nfe in (None, int(parts[2])):
                one = Transaction.begin(project, params, client, model=parts[1], nfe=int(parts[2]))
                if not busy:
                    one.settle()
                found.append(_describe(one) | {"notes": [busy] if busy else list(one.notes)})
        return found


def _describe(model: Transaction) -> Document:
    aliases = model.client.get_registered_model(model.name).aliases
    return {
        "name": model.name,
        "champion": model.pointer.version if model.pointer else None,
        "pointer": model.champions.address,
        "versions": [_version(one, aliases) for one in all_versions(model.client, model.name)],
        "decisions": list(decisions(model.audit.entries(READ))),
    }


def _version(version: Any, aliases: Mapping[str, Any]) -> Document:
    number = str(version.version)
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "version": number,
        "aliases": sorted(alias for alias, at in aliases.items() if str(at) == number),
        "fid": _number(version.tags.get("fid")),
        "fid_spread": _number(version.tags.get("fid_spread")),
        "protocol_hash": version.tags.get("protocol_hash"),
        "created": created.isoformat(timespec="seconds"),
    }


def _number(text: str | None) -> float | None:
    """Number in a tag; None if there is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def decisions(entries: Sequence[Mapping[str, Any]]) -> Iterator[Document]:
    """Document of each decision in the entries of a log: its facts, and how it ended (``state``)."""
    ends = {entry["decision"]: entry["state"] for entry in entries}
    for entry in entries:
        if entry["state"] in ("intended", "kept"):
            facts = {
                name: entry.get(name) for name in ("decision", "at", "by", "action", "version", "forced")
            }
            yield facts | {"state": ends[entry["decision"]], "reasons": entry.get("reasons", [])}


def tables(models: Sequence[Document]) -> Iterator[Table]:
    """The versions of all models, and the latest decisions."""
    versions = [
        row(
            model["name"],
            one["version"],
            ", ".join(one["aliases"]),
            " ± ".join(f"{one[name]:.3f}" for name in ("fid", "fid_spread") if one[name] is not None),
            (one["protocol_hash"] or "")[:8],
            _minute(one["created"]),
            style="student" if one["version"] == model["champion"] else "",
        )
        for model in models
        for one in model["versions"]
    ]
    columns = ("model", "version", "aliases", "FID", "protocol", "registered")
    yield Table(columns, versions, title="Versions", prose=True, unwrapped=["model"])
    latest = sorted(
        ((one["at"], model["name"], one) for model in models for one in model["decisions"]),
        key=lambda item: item[0],
    )[-SHOWN:]
    if latest:
        columns = ("when", "model", "version", "what", "who", "why")
        log = [
            row(
                _minute(at),
                name,
                one["version"] or "",
                outcome(one),
                one["by"] or "",
                "\n".join(one["reasons"]),
            )
            for at, name, one in latest
        ]
        yield Table(columns, log, title="Decisions", prose=True, unwrapped=["model"])


def _minute(time: str) -> str:
    """ISO time to the minute, which a narrow column breaks after the day."""
    return time[:16].replace("T", " ")


def outcome(decision: Mapping[str, Any]) -> str:
    """Outcome of a decision, in words."""
    action, state = decision["action"], decision["state"]
    if state == "done":
        forced = " by force" if decision["forced"] else ""
        return {"promote": f"promoted{forced}", "rollback": "rolled back to"}.get(action, "done")
    return {"kept": "not promoted", "intended": f"{action} interrupted"}.get(state, f"{action} {state}")
