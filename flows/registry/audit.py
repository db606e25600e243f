"""Audit log of one model in the store: one object per entry, added and never changed.

A promotion or rollback adds ``intended`` before it moves the pointer, and ``done`` when all is written.
An ``intended`` entry without a later one was interrupted, or is still under way.
"""

from __future__ import annotations

import getpass
import json
import math
import os
import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from adasde.errors import StoreError
from adasde.storage import Store

State = Literal["intended", "done", "kept", "withdrawn", "abandoned"]
"""``kept``: the champion stays; ``withdrawn``: refused after the intention; ``abandoned``: interrupted."""

GRACE = timedelta(minutes=5)
"""Time for which an intention of another machine counts as under way; the rest takes seconds."""

STAMP = "%Y%m%dT%H%M%S.%fZ"


def now() -> str:
    """Time stamp of entries and pointers."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def author() -> str:
    """Author of entries and pointers: user and machine."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without names
        user = str(os.getuid())
    return f"{user}@{platform.node()}"


def new_decision() -> str:
    """Unique name of a decision."""
    return secrets.token_hex(6)


@dataclass(frozen=True)
class Audit:
    """Entries below ``prefix`` of a store; ``project`` is the folder that writes new ones."""

    store: Store
    prefix: str
    project: Path

    def append(self, decision: str, state: State, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add an entry of ``facts``, time and author, and return it; numbers that are not finite become text.

        Raises:
            StoreError: the entry cannot be stored.
        """
        time = datetime.now(UTC)
        head = {"decision": decision, "state": state, "at": time.isoformat(), "by": author()}
        entry = head | self._here() | _json_values(facts)
        key = f"{self.prefix}/{time.strftime(STAMP)}-{decision}-{state}.json"
        self.store.write(key, json.dumps(entry, indent=1, sort_keys=True).encode())
        return entry

    def entries(self, last: int = 1000) -> list[dict[str, Any]]:
        """The ``last`` entries, the oldest first; a damaged one has the facts of its key, and ``damaged``."""
        return [self._load(key) for key in self._keys()[-last:]]

    def unfinished(self) -> list[dict[str, Any]]:
        """Intentions without a later entry of the same decision."""
        parts = [(key, *_parse(key)) for key in self._keys()]
        ended = {decision for _, _, decision, state in parts if state != "intended"}
        return [
            self._load(key)
            for key, _, decision, state in parts
            if state == "intended" and decision not in ended
        ]

    def is_over(self, intention: Mapping[str, Any]) -> bool:
        """Whether an unfinished intention was interrupted, given that this process has the project's lock."""
        ours = self._here()
        if all(intention.get(name) == ours[name] for name in ("host", "project")):
            return True
        return datetime.now(UTC) - datetime.fromisoformat(intention["at"]) > GRACE

    def _here(self) -> dict[str, Any]:
        return {"host": platform.node(), "project": str(self.project), "process": os.getpid()}

    def _keys(self) -> list[str]:
        return [entry.key for entry in self.store.list(f"{self.prefix}/")]

    def _load(self, key: str) -> dict[str, Any]:
        at, decision, state = _parse(key)
        known = {"decision": decision, "state": state, "at": at.isoformat()}
        try:
            return known | json.loads(self.store.read(key))
        except (StoreError, ValueError) as error:
            if isinstance(error, StoreError) and error.kind not in ("checksum", "missing"):
                raise
            return known | {"damaged": str(error)}


def _json_values(value: Any) -> Any:
    """JSON values of nested facts."""
    if isinstance(value, Mapping):
        return {key: _json_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json_values(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _parse(key: str) -> tuple[datetime, str, str]:
    """(time, decision, state) in a key of the log."""
    stamp, decision, state = key.rpartition("/")[2].removesuffix(".json").split("-")
    return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC), decision, state
