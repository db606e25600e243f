"""Results of the bench's cells: a JSON file each, named by the hash of all that the result depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.errors import DataError
from adasde.utils.atomic_io import sha256_json, write_json
from adasde.utils.safetensors_io import load_tensors, save_tensors


class CellCache:
    """Cells of ``folder``; a cell is done once its JSON file is complete (it is written last)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, identity: dict[str, Any], suffix: str = ".json") -> Path:
        """The file of the cell with that identity."""
        return self.folder / f"{sha256_json(identity)[:24]}{suffix}"

    def get(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """The cell's result, or None if it has to be computed."""
        try:
            document = json.loads(self.path(identity).read_text(encoding="utf-8"))
            return document["result"] if document["identity"] == identity else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(
        self, identity: dict[str, Any], result: dict[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """Store and return a result, with tensors beside it (DataError: the folder cannot be written)."""
        if tensors:
            save_tensors(self.path(identity, ".safetensors"), tensors)
        write_json(self.path(identity), {"identity": identity, "result": result})
        return result

    def tensors(self, identity: dict[str, Any]) -> dict[str, Tensor]:
        """The tensors of a cell; empty if it has none."""
        try:
            return load_tensors(self.path(identity, ".safetensors"))
        except DataError:
            return {}
