"""Trust on first use: a file without a published hash must stay the one that was fetched first."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from adasde.errors import CheckpointError
from adasde.utils.atomic_io import write_json

LOCK = "checkpoints.lock"
"""In the project folder, to be committed: ``files`` has "MODEL/FILE" -> ``{"sha256", "bytes", "url"}``."""

VERSION = 1


class Lock:
    """The hashes of files that were fetched in this project.

    Raises:
        CheckpointError: the file is there and cannot be read.
    """

    def __init__(self, project: str | os.PathLike[str] = ".") -> None:
        self.path = Path(project) / LOCK
        self.files: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise ValueError(f"its version is not {VERSION}")
            for key, entry in document["files"].items():
                self.files[key] = {**entry, "sha256": str(entry["sha256"])}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{self.path} cannot be read ({error}). Take it from your version control again; without it "
                "the trusted hashes are lost."
            ) from error

    def sha256(self, key: str) -> str | None:
        """Recorded hash of the file ``MODEL/FILE``; None: not recorded."""
        entry = self.files.get(key)
        return None if entry is None else entry["sha256"]

    def remember(self, key: str, *, sha256: str, size: int, url: str) -> bool:
        """Record a file; whether it was new."""
        if key in self.files:
            return False
        self.files[key] = {"sha256": sha256, "bytes": size, "url": url}
        write_json(self.path, {"version": VERSION, "files": dict(sorted(self.files.items()))})
        return True

    def refused(self, key: str, *, found: str = "") -> CheckpointError:
        """The error for a file that has changed."""
        return CheckpointError(
            f"{key} is not the file that this project has trusted: its sha256 is {found[:12] or 'another'}, "
            f"{self.path} says {self.files[key]['sha256'][:12]}…. It was changed where it comes from, or on "
            "the way. Nothing was taken from it. If its publisher says why it changed and you trust that, "
            f"remove {key!r} from {LOCK} and fetch again."
        )
