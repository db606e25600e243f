"""The numbers of all stages, as one JSON document and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adasde.config.params import STUDENT
from adasde.errors import DataError
from adasde.report.table import MISSING, Table, TableCell, number_text, row

MetricsRow = dict[str, Any]
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
    rows: dict[str, dict[int, MetricsRow]]
    teacher: MetricsRow
    protocol: dict[str, Any] = field(default_factory=dict)
    protocol_hash: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON value (NFE become text, as JSON's keys are)."""
        return asdict(self) | {
            "rows": {k: {str(n): one for n, one in v.items()} for k, v in self.rows.items()}
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Results:
        """The inverse of ``to_json``."""
        rows = {label: {int(n): one for n, one in v.items()} for label, v in value["rows"].items()}
        return cls(**(value | {"rows": rows}))

    @property
    def labels(self) -> list[str]:
        """The solvers, AdaSDE first."""
        return sorted(self.rows, key=lambda label: label != STUDENT)

    def best(self, nfe: int) -> str | None:
        """The label with the lowest mean FID at ``nfe``."""
        scores = {label: v[nfe]["fid"]["mean"] for label, v in self.rows.items() if nfe in v}
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
    rows: dict[str, dict[int, MetricsRow]] = {}
    for k in nfe:
        path = metrics / f"nfe{k}.json"
        document = read_metrics(path)
        if document["protocol_hash"] != floor["protocol_hash"]:
            raise DataError(
                f"{path} was measured under another protocol than {metrics / 'floor.json'}, so the numbers "
                "do not compare. Run the stages reference and evaluate again."
            )
        for label, numbers in document["rows"].items():
            rows.setdefault(label, {})[k] = numbers
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


def results_table(results: Results) -> Table:
    """FID mean ± spread, solver by NFE; the best of every column marked, the model's own floor below."""
    best = {nfe: results.best(nfe) for nfe in results.nfe}
    rows = []
    for label in results.labels:
        numbers = results.rows[label]
        cells = [
            TableCell(cell_text(numbers.get(nfe)), style="best" if best[nfe] == label else "")
            for nfe in results.nfe
        ]
        learned = label == STUDENT
        group = "learned" if learned else "classical"
        rows.append(row(label, *cells, group=group, style="student" if learned else ""))
    return Table(
        columns=["solver", *(f"{nfe} NFE" for nfe in results.nfe)],
        rows=rows,
        title=f"FID on {results.model}, lower is better; mean ± spread",
        caption=f"The model itself: {floor_text(results)}.",
    )


def cell_text(numbers: MetricsRow | None) -> str:
    """The FID of a row as ``number_text``, or a dash."""
    return MISSING if numbers is None else number_text(numbers["fid"])


def floor_text(results: Results) -> str:
    """What the model reaches with many steps, in words."""
    return f"{cell_text(results.teacher)} with {results.teacher['nfe']} evaluations of Heun's method"
