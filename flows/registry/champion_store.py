"""The champion of one model in the store: immutable bundles, and the pointer that says which one it is.

``registry/NAME/champion.json`` is the truth. It names a bundle, ``registry/NAME/bundles/HASH/``, whose files
and their checksums (``sha256sums.txt``, which ``sha256sum --check`` reads) are never changed: HASH is the
SHA-256 of that list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from adasde.errors import DataError, StoreError
from adasde.storage import Store
from flows.tracking.resolver import COEFFICIENTS

SCHEMA_VERSION = 1
REMEMBERED = 50
"""How many champions before the present one the pointer remembers."""

METRICS, PROVENANCE = "metrics.json", "provenance.json"
SUMS = "sha256sums.txt"


@dataclass(frozen=True)
class Promoted:
    """One that is or was champion.

    Attributes:
        decision: which promotion or rollback made it champion.
        version: the registered version.
        bundle: key of its coefficient file, relative to the pointer's folder.
        sha256: of that file.
        at, by: when, and who did it.
    """

    decision: str
    version: str
    bundle: str
    sha256: str
    at: str
    by: str


@dataclass(frozen=True)
class Pointer:
    """What the pointer says.

    Attributes:
        name: the registered model.
        champion: the present one.
        previous: those to return to, the latest first.
        rejected: SHA-256 of the coefficients that were rolled back, the latest first.
    """

    name: str
    champion: Promoted
    previous: tuple[Promoted, ...] = ()
    rejected: tuple[str, ...] = ()

    @property
    def decisions(self) -> set[str]:
        """Every decision that this pointer is the outcome of."""
        return {one.decision for one in (self.champion, *self.previous)}

    def promoted(self, champion: Promoted) -> Pointer:
        """The next pointer: another champion, this one behind it."""
        previous = (self.champion, *self.previous)[:REMEMBERED]
        rejected = tuple(one for one in self.rejected if one != champion.sha256)
        return Pointer(self.name, champion, previous, rejected)

    def rolled_back(self, decision: str, *, at: str, by: str) -> Pointer:
        """The next pointer: the champion before this one."""
        back, *rest = self.previous
        rejected = (self.champion.sha256, *self.rejected)[:REMEMBERED]
        return Pointer(self.name, replace(back, decision=decision, at=at, by=by), tuple(rest), rejected)

    def to_json(self) -> dict[str, Any]:
        """What is stored; ``bundle`` and ``sha256`` are what ``adasde.storage.resolve_pointer`` follows."""
        rest = {"previous": [asdict(one) for one in self.previous], "rejected": list(self.rejected)}
        head = {"schema_version": SCHEMA_VERSION, "name": self.name}
        return head | asdict(self.champion) | rest

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Pointer:
        """The inverse of ``to_json``."""
        champion = Promoted(**{field.name: value[field.name] for field in fields(Promoted)})
        previous = tuple(Promoted(**one) for one in value["previous"])
        return cls(value["name"], champion, previous, tuple(value["rejected"]))


@dataclass(frozen=True)
class Champions:
    """Bundles and pointer of the model ``name``."""

    store: Store
    name: str

    @property
    def folder(self) -> str:
        """The prefix of all keys of this model."""
        return f"registry/{self.name}"

    @property
    def address(self) -> str:
        """Where the pointer is, for those who use the champion."""
        return self.store.where(self._pointer)

    @property
    def _pointer(self) -> str:
        return f"{self.folder}/champion.json"

    def read(self) -> Pointer | None:
        """The pointer; None where nothing was promoted yet.

        Raises:
            StoreError: the store cannot be used, or the pointer is damaged.
            DataError: it is of another program, or of a newer version of this one.
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
        """Move the pointer: readers see the old one or the new one (StoreError where that fails)."""
        self.store.write(self._pointer, json.dumps(pointer.to_json(), indent=1).encode())

    def publish(self, files: Mapping[str, bytes]) -> tuple[str, str]:
        """Store a bundle, whole and read back; (key of its coefficients below ``folder``, their SHA-256).

        Files that are there already are left alone.

        Raises:
            StoreError: it cannot be stored, or is not what was stored.
        """
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
        listing = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
        bundle = f"bundles/{hashlib.sha256(listing).hexdigest()}"
        for name, data in {**files, SUMS: listing}.items():
            key = f"{self.folder}/{bundle}/{name}"
            if not self._holds(key, data):
                self.store.write(key, data)
        self.verify(f"{bundle}/{COEFFICIENTS}")
        return f"{bundle}/{COEFFICIENTS}", sums[COEFFICIENTS]

    def verify(self, coefficients: str) -> dict[str, bytes]:
        """The files of the bundle with this coefficient file, all as they were when it was published.

        Raises:
            StoreError: one is missing or altered.
        """
        folder, _, _ = coefficients.rpartition("/")
        listing = self._read(f"{folder}/{SUMS}", folder.rpartition("/")[2])
        sums = [line.split("  ", 1) for line in listing.decode().splitlines()]
        return {name: self._read(f"{folder}/{name}", digest) for digest, name in sums}

    def evaluation(self, protocol: str, sha256: str) -> dict[str, Any] | None:
        """The metrics file that was kept for these coefficients under this protocol, if there is one."""
        try:
            return json.loads(self.store.read(self._evaluation(protocol, sha256)))
        except StoreError as error:
            if error.kind in ("missing", "checksum"):
                return None
            raise

    def keep_evaluation(self, protocol: str, sha256: str, metrics: Mapping[str, Any]) -> None:
        """Keep a metrics file, so that it is not made twice."""
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

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether just these bytes are stored under ``key``."""
        try:
            return self.store.read(key) == data
        except StoreError as error:
            if error.kind in ("missing", "checksum"):
                return False
            raise
