"""What is registered: versions, aliases, numbers, and every decision about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.config.params import load_params
from flows.registry.transaction import Settled, Transaction, open_registry, settle, transaction_of
from flows.system.locks import BusyError, project_lock
from flows.tracking import versions as registry

if TYPE_CHECKING:
    from rich.table import Table

NAME = re.compile(r"adasde-(.+)-nfe(\d+)")
"""A registered name; see ``registry.registered_name``."""

SHOWN = 20
"""Decisions that the table shows."""

READ = 200
"""Entries of each model's log that are read."""

WIDTHS = {"model": 18, "aliases": 10, "registered": 10, "when": 10}
"""The least width of columns whose words are no use in pieces; all tables then fit in 80 characters."""

Document = dict[str, Any]


def list_models(project: Path, model: str | None = None, nfe: int | None = None) -> list[Document]:
    """All models, or those asked for: champion, versions (the newest first), decisions (the oldest first).

    MLflow's alias is made to agree with the pointer, unless a promotion is under way.

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
        for name in registry.all_models(client):
            parts = NAME.fullmatch(name)
            if parts and model in (None, parts[1]) and nfe in (None, int(parts[2])):
                desk = transaction_of(project, params, client, model=parts[1], nfe=int(parts[2]))
                found.append(_describe(desk, busy))
        return found


def _describe(desk: Transaction, busy: str) -> Document:
    settled = Settled(desk.champions.read(), (busy,)) if busy else settle(desk)
    aliases = desk.client.get_registered_model(desk.name).aliases
    return {
        "name": desk.name,
        "champion": settled.pointer.champion.version if settled.pointer else None,
        "pointer": desk.champions.address,
        "versions": [_version(one, aliases) for one in registry.all_versions(desk.client, desk.name)],
        "decisions": list(decisions(desk.audit.entries(READ))),
        "notes": list(settled.notes),
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
    """The number in a tag; None where there is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def decisions(entries: Sequence[Mapping[str, Any]]) -> Iterator[Document]:
    """One document a decision, from the entries of the log: its facts, and how it ended (``state``)."""
    ends = {entry["decision"]: entry["state"] for entry in entries}
    for entry in entries:
        if entry["state"] in ("intended", "kept"):
            facts = {
                name: entry.get(name) for name in ("decision", "at", "by", "action", "version", "forced")
            }
            yield facts | {"state": ends[entry["decision"]], "reasons": entry.get("reasons", [])}


def tables(models: Sequence[Document]) -> Iterator[Table]:
    """The versions of all models, and the latest decisions."""
    from rich.table import Column, Table

    def columns(*names: str) -> list[Column]:
        return [Column(name, overflow="fold", min_width=WIDTHS.get(name)) for name in names]

    versions = Table(
        *columns("model", "version", "aliases", "FID", "protocol", "registered"), title="Versions"
    )
    for model in models:
        for one in model["versions"]:
            fid = "" if one["fid"] is None else f"{one['fid']:.3f}"
            spread = "" if one["fid_spread"] is None else f" ± {one['fid_spread']:.3f}"
            protocol = (one["protocol_hash"] or "")[:8]
            aliases = ", ".join(one["aliases"])
            style = "bold" if one["version"] == model["champion"] else None
            row = (model["name"], one["version"], aliases, fid + spread, protocol, _minute(one["created"]))
            versions.add_row(*row, style=style)
    yield versions
    latest = sorted(
        ((one["at"], model["name"], one) for model in models for one in model["decisions"]),
        key=lambda item: item[0],
    )[-SHOWN:]
    if latest:
        log = Table(*columns("when", "model", "version", "what", "who", "why"), title="Decisions")
        for at, name, one in latest:
            why = "\n".join(one["reasons"])
            log.add_row(_minute(at), name, str(one["version"] or ""), outcome(one), one["by"] or "", why)
        yield log


def _minute(time: str) -> str:
    """An ISO time to the minute, which a narrow column breaks after the day."""
    return time[:16].replace("T", " ")


def outcome(decision: Mapping[str, Any]) -> str:
    """How a decision ended, in words."""
    action, state = decision["action"], decision["state"]
    if state == "done":
        forced = " by force" if decision["forced"] else ""
        return {"promote": f"promoted{forced}", "rollback": "rolled back to"}.get(action, "done")
    return {"kept": "not promoted", "intended": f"{action} interrupted"}.get(state, f"{action} {state}")
