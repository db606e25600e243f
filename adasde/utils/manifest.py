"""A folder whose files are made one by one, so that a killed run resumes from the complete ones.

Its manifest is rewritten after every file. It holds, for each, the SHA-256 of its bytes and a fingerprint
(a hash of everything that the content depends on). A file is complete only if both agree.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.errors import DataError
from adasde.utils.atomic_io import atomic, sha256_file, write_json
from adasde.utils.safetensors_io import save_tensors

MANIFEST = "manifest.json"
VERSION = 1


class Manifest:
    """The files of ``folder`` by name; each entry has ``sha256``, ``fingerprint`` and further facts.

    ``kind`` names the purpose of the folder; ``about`` is a JSON value for people: what the files depend on.
    """

    def __init__(
        self, folder: Path, entries: dict[str, dict[str, Any]], *, kind: str, about: Any = None
    ) -> None:
        self.folder = folder
        self.entries = entries
        self.kind = kind
        self.about = about

    @classmethod
    def resume(cls, folder: Path, wanted: Mapping[str, str], *, kind: str, about: Any = None) -> Manifest:
        """Keep the complete files that ``wanted`` (name -> fingerprint) asks for, and remove all others.

        Raises:
            DataError: the folder was not made by a run of this ``kind`` (nothing is removed then), or
                cannot be changed.
        """
        try:
            before = cls.load(folder)
        except DataError:
            before = cls(folder, {}, kind="")
        if before.kind != kind:
            _refuse_foreign(folder, {MANIFEST, *wanted} if not before.kind else set())
        kept = {
            name: entry
            for name, entry in before.entries.items()
            if entry["fingerprint"] == wanted.get(name) and _is_complete(folder / name, entry["sha256"])
        }
        _remove_all_but(folder, {*kept, MANIFEST} if kept else set())
        manifest = cls(folder, kept, kind=kind, about=about)
        if len(kept) < len(before.entries):
            manifest._save()
        return manifest

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest; ``verify`` checks the files themselves.

        Raises:
            DataError: there is no manifest (the stage did not finish its first file), or an invalid one.
        """
        path = folder / MANIFEST
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise ValueError(f"its version {document['version']!r} is not {VERSION}")
            entries = {name: dict(entry) for name, entry in document["files"].items()}
            if not all({"sha256", "fingerprint"} <= set(entry) for entry in entries.values()):
                raise ValueError("an entry has no hash")
            return cls(folder, entries, kind=document["kind"], about=document["about"])
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist. Run the stage that makes {folder} first.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is damaged ({error}). Run the stage that makes {folder} again."
            ) from error

    def add(
        self, name: str, tensors: Mapping[str, Tensor], *, fingerprint: str, about: dict[str, Any]
    ) -> None:
        """Write one file and enter it in the manifest (DataError if that is impossible)."""
        save_tensors(self.folder / name, tensors)
        entry = about | {"sha256": sha256_file(self.folder / name), "fingerprint": fingerprint}
        self.entries = dict(sorted((self.entries | {name: entry}).items()))
        self._save()

    def adopt(self, beside: Path, wanted: Mapping[str, str]) -> None:
        """Link the missing ones of ``wanted`` (name -> fingerprint) that the folder ``beside`` has.

        Raises:
            DataError: the folder cannot be written.
        """
        try:
            other = Manifest.load(beside)
        except DataError:
            return
        if other.kind != self.kind or beside.absolute() == self.folder.absolute():
            return
        for name, fingerprint in wanted.items():
            entry = other.entries.get(name, {})
            if name in self.entries or entry.get("fingerprint") != fingerprint:
                continue
            if _is_complete(beside / name, entry["sha256"]):
                with atomic(self.folder / name) as temporary:
                    _link_or_copy(beside / name, temporary)
                self.entries = dict(sorted((self.entries | {name: entry}).items()))
                self._save()

    def verify(self, wanted: Mapping[str, str] | None = None) -> None:
        """Check every file against its hash, and against ``wanted`` (name -> fingerprint) if given.

        Raises:
            DataError: names the file that is missing, altered, or made from other parameters.
        """
        for name, fingerprint in (wanted or {}).items():
            if self.entries.get(name, {}).get("fingerprint") != fingerprint:
                other = "was made from other parameters, another checkpoint or by other code"
                why = other if name in self.entries else "is missing"
                raise DataError(f"{self.folder / name} {why}. Run the stage that makes {self.folder} again.")
        for name, entry in self.entries.items():
            if not _is_complete(self.folder / name, entry["sha256"]):
                raise DataError(
                    f"{self.folder / name} is missing or damaged: its SHA-256 is not the one in {MANIFEST}. "
                    f"Run the stage that makes {self.folder} again; it remakes this file alone."
                )

    def _save(self) -> None:
        head = {"version": VERSION, "kind": self.kind, "about": self.about}
        write_json(self.folder / MANIFEST, head | {"files": self.entries})


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _is_complete(path: Path, sha256: str) -> bool:
    try:
        return sha256_file(path) == sha256
    except OSError:
        return False


def _refuse_foreign(folder: Path, allowed: set[str]) -> None:
    """Raise DataError if a folder of another kind holds more than a killed run of ours can leave."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if name not in allowed and not name.endswith(".tmp")]
    if foreign:
        raise DataError(
            f"{folder} holds files that were not made here ({', '.join(foreign[:3])}); this stage would "
            "remove them. Name a new or empty folder with --out."
        )


def _remove_all_but(folder: Path, keep: set[str]) -> None:
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in keep:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise DataError(f"cannot remove {error.filename} from {folder}: {error.strerror}.") from error
