"""The numbers of all stages in one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adasde.config.params import STUDENT
from adasde.errors import DataError

Row = dict[str, Any]
"""``{"fid": {"mean", "spread", "values"}, "kid": ..., "precision": ..., "recall": ..., "nfe": n}``."""


@dataclass(frozen=True)
class Results:
    """All that was measured under one protocol.

    Attributes:
        model: name of the model.
        nfe: the budgets, in order.
        rows: solver label -> NFE -> its numbers; a solver is not in every column.
        teacher: the same numbers for the many-step sampler of the model itself.
        protocol, protocol_hash: how it was measured; numbers compare only under the same hash.
    """

    model: str
    nfe: list[int]
    rows: dict[str, dict[int, Row]]
    teacher: Row
    protocol: dict[str, Any] = field(default_factory=dict)
    protocol_hash: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON value (NFE become text, as JSON's keys are)."""
        return asdict(self) | {
            "rows": {k: {str(n): row for n, row in v.items()} for k, v in self.rows.items()}
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Results:
        """The inverse of ``to_json``."""
        rows = {label: {int(n): row for n, row in row_of.items()} for label, row_of in value["rows"].items()}
        return cls(**(value | {"rows": rows}))

    @property
    def labels(self) -> list[str]:
        """The solvers, AdaSDE first."""
        return sorted(self.rows, key=lambda label: label != STUDENT)

    def best(self, nfe: int) -> str | None:
        """The label with the lowest mean FID at ``nfe``."""
        scores = {label: row[nfe]["fid"]["mean"] for label, row in self.rows.items() if nfe in row}
        return min(scores, key=scores.__getitem__) if scores else None

    def series(self, label: str) -> Iterator[tuple[int, float, float]]:
        """(NFE, mean FID, spread) of one solver, in order."""
        for nfe in self.nfe:
            if nfe in self.rows[label]:
                fid = self.rows[label][nfe]["fid"]
                yield nfe, fid["mean"], fid["spread"]


def collect(metrics: Path, nfe: list[int]) -> Results:
    """Read ``floor.json`` and ``nfe<k>.json`` of the folder ``metrics``.

    Raises:
        DataError: a file is missing or damaged, or they were measured under different protocols.
    """
    floor = read_metrics(metrics / "floor.json")
    rows: dict[str, dict[int, Row]] = {}
    for k in nfe:
        path = metrics / f"nfe{k}.json"
        document = read_metrics(path)
        if document["protocol_hash"] != floor["protocol_hash"]:
            raise DataError(
                f"{path} was measured under another protocol than {metrics / 'floor.json'}, so the numbers "
                "do not compare. Run the stages reference and evaluate again."
            )
        for label, row in document["rows"].items():
            rows.setdefault(label, {})[k] = row
    (teacher,) = floor["rows"].values()
    return Results(floor["model"], list(nfe), rows, teacher, floor["protocol"], floor["protocol_hash"])


def read_metrics(path: Path) -> dict[str, Any]:
    """One metrics file; DataError (naming it and the remedy) where it is missing or damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        missing = {"model", "protocol", "protocol_hash", "rows"} - set(document)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Run the stage evaluate (or reference) first.") from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}). Run the stage that makes it again.") from error
    if missing:
        raise DataError(f"{path} is no metrics file: it lacks {', '.join(sorted(missing))}.")
    return document


def read_results(project: Path) -> Results:
    """What the stage ``report`` wrote.

    Raises:
        DataError: it is missing or damaged.
    """
    path = project / "report" / "results.json"
    try:
        return Results.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}). Delete it and run the pipeline again.") from error
