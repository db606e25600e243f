"""The champion of one model in the store: immutable bundles, and the pointer that names the current one.

``registry/NAME/champion.json`` is the single source of truth. It names a bundle,
``registry/NAME/bundles/HASH/``, whose files and checksums (``sha256sums.txt``, which ``sha256sum --check``
reads) never change: HASH is the SHA-256 of that list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adasde.errors import DataError, StoreError
from adasde.storage import Store
from flows.tracking.resolver import COEFFICIENTS

SCHEMA_VERSION = 1
REMEMBERED = 50
"""Former champions that a pointer keeps."""

METRICS, PROVENANCE = "metrics.json", "provenance.json"
SUMS = "sha256sums.txt"
FIELDS = ("decision", "version", "bundle", "sha256", "at", "by")
"""Stored fields of each champion."""


@dataclass(frozen=True)
class Pointer:
    """A champion, and its predecessors.

    Attributes:
        name: the registered model.
        decision: the promotion or rollback that made it champion.
        version: the registered version.
        bundle: key of its coefficient file, relative to the pointer's folder.
        sha256: of that file.
        at, by: time and author of the decision.
        previous: champions to roll back to, the latest first, each without its own predecessors.
        rejected: SHA-256 of the coefficients that were rolled back, the latest first.
    """

    name: str
    decision: str
    version: str
    bundle: str
    sha256: str
    at: str
    by: str
    previous: tuple[Pointer, ...] = ()
    rejected: tuple[str, ...] = ()

    @property
    def decisions(self) -> set[str]:
        """Decisions that led to this pointer."""
        return {one.decision for one in (self, *self.previous)}

    def succeeded_by(self, champion: Pointer) -> Pointer:
        """The next pointer: ``champion``, with this one behind it."""
        previous = (replace(self, previous=(), rejected=()), *self.previous)[:REMEMBERED]
        rejected = tuple(one for one in self.rejected if one != champion.sha256)
        return replace(champion, previous=previous, rejected=rejected)

    def rolled_back(self, decision: str, *, at: str, by: str) -> Pointer:
        """The next pointer: the champion before this one."""
        back, *rest = self.previous
        rejected = (self.sha256, *self.rejected)[:REMEMBERED]
        return replace(back, decision=decision, at=at, by=by, previous=tuple(rest), rejected=rejected)

    def to_json(self) -> dict[str, Any]:
        """The stored document; ``adasde.storage.resolve_pointer`` follows its ``bundle`` and ``sha256``."""
        head = {"schema_version": SCHEMA_VERSION, "name": self.name}
        return head | {
            **{name: getattr(self, name) for name in FIELDS},
            "previous": [{name: getattr(one, name) for name in FIELDS} for one in self.previous],
            "rejected": list(self.rejected),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Pointer:
        """The inverse of ``to_json``."""
        champion, *previous = (
            cls(value["name"], *(one[name] for name in FIELDS)) for one in (value, *value["previous"])
        )
        return replace(champion, previous=tuple(previous), rejected=tuple(value["rejected"]))


@dataclass(frozen=True)
class Champions:
    """Store of the bundles and the pointer of the model ``name``."""

    store: Store
    name: str

    @property
    def folder(self) -> str:
        """Prefix of all keys of this model."""
        return f"registry/{self.name}"

    @property
    def address(self) -> str:
        """Address of the pointer, for users of the champion."""
        return self.store.where(self._pointer)

    @property
    def _pointer(self) -> str:
        return f"{self.folder}/champion.json"

    def read(self) -> Pointer | None:
        """The current pointer; None if nothing was promoted yet.

        Raises:
            StoreError: the store cannot be used, or the pointer is damaged.
            DataError: another program, or a newer version of this one, wrote the pointer.
        """
        try:
            document = json.loads(self.store.read(self._pointer))
            if document["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {document['schema_version']!r} is unknown")
            return Pointer.from_json(document)
        except StoreError as error:
            if error.kind == "missing":
                return None
            raise
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self.address} is no pointer of this version of adasde ({error!r}). Use the version that "
                "wrote it, or move the file away and promote again."
            ) from error

    def point(self, pointer: Pointer) -> None:
        """Replace the pointer: readers see the old one or the new one (StoreError if the write fails)."""
        self.store.write(self._pointer, json.dumps(pointer.to_json(), indent=1).encode())

    def publish(self, files: Mapping[str, bytes]) -> tuple[str, str]:
        """Store a bundle and verify it; (key of its coefficients below ``folder``, their SHA-256).

        Files that are stored already are not written again.

        Raises:
            StoreError: it cannot be stored, or reads back differently.
        """
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
        listing = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
        bundle = f"bundles/{hashlib.sha256(listing).hexdigest()}"
        for name, data in {**files, SUMS: listing}.items():
            key = f"{self.folder}/{bundle}/{name}"
            if self._stored(key) != data:
                self.store.write(key, data)
        self.verify(f"{bundle}/{COEFFICIENTS}")
        return f"{bundle}/{COEFFICIENTS}", sums[COEFFICIENTS]

    def verify(self, coefficients: str) -> dict[str, bytes]:
        """Files of the bundle with this coefficient file, checked against their published checksums.

        Raises:
            StoreError: one is missing or altered.
        """
        folder, _, _ = coefficients.rpartition("/")
        listing = self._read(f"{folder}/{SUMS}", folder.rpartition("/")[2])
        sums = [line.split("  ", 1) for line in listing.decode().splitlines()]
        return {name: self._read(f"{folder}/{name}", digest) for digest, name in sums}

    def evaluation(self, protocol: str, sha256: str) -> dict[str, Any] | None:
        """Cached metrics file of these coefficients under this protocol; None if there is none."""
        data = self._stored(self._evaluation(protocol, sha256))
        return None if data is None else json.loads(data)

    def keep_evaluation(self, protocol: str, sha256: str, metrics: Mapping[str, Any]) -> None:
        """Cache a metrics file, so that it is not computed twice."""
        self.store.write(self._evaluation(protocol, sha256), json.dumps(metrics, indent=1).encode())

    def _evaluation(self, protocol: str, sha256: str) -> str:
        return f"{self.folder}/evaluations/{protocol[:32]}-{sha256[:32]}.json"

    def _read(self, key: str, sha256: str) -> bytes:
        key = f"{self.folder}/{key}"
        data = self.store.read(key)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(
                f"{self.store.where(key)} is not what was promoted: its sha256 is not {sha256[:12]}….",
                kind="checksum",
            )
        return data

    def _stored(self, key: str) -> bytes | None:
        """Bytes under ``key``; None if they are missing or damaged."""
        try:
            return self.store.read(key)
        except StoreError as error:
            if error.kind in ("missing", "checksum"):
                return None
            raise
