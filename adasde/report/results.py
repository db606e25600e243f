"""The numbers of all stages, as one JSON document and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adasde.config.params import STUDENT
from adasde.errors import DataError
from adasde.report.table import MISSING, Style, Table, TableCell, number_text, row

MetricsRow = dict[str, Any]
"""``{"fid": {"mean", "spread", "values"}, "kid": ..., "precision": ..., "recall": ..., "nfe": n}``."""

Published = Mapping[str, Mapping[int, float]]
"""Solver label -> NFE -> FID."""

PUBLISHED_NOTE = "Published (in brackets on the terminal): the paper's FID, of 50 000 images."


@dataclass(frozen=True)
class Results:
    """All that was measured under one protocol.

    Attributes:
        model: name of the model.
        nfe: the budgets, in order.
        rows: solver label -> NFE -> its numbers; a solver is not in every column.
        teacher: the same numbers for the many-step sampler of the model itself; None: not measured.
        published: solver label -> NFE -> FID of 50 000 images in the paper's table.
        protocol, protocol_hash: how it was measured; numbers compare only under the same hash.
    """

    model: str
    nfe: list[int]
    rows: dict[str, dict[int, MetricsRow]]
    teacher: MetricsRow | None
    protocol: dict[str, Any] = field(default_factory=dict)
    protocol_hash: str = ""
    published: Published = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON value (NFE become text, as JSON's keys are)."""
        tables: dict[str, Any] = {"rows": self.rows, "published": self.published}
        return asdict(self) | {
            name: {label: {str(n): one for n, one in v.items()} for label, v in table.items()}
            for name, table in tables.items()
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Results:
        """The inverse of ``to_json``."""
        tables = {
            name: {label: {int(n): one for n, one in v.items()} for label, v in value.get(name, {}).items()}
            for name in ("rows", "published")
        }
        return cls(**(value | tables))

    @property
    def labels(self) -> list[str]:
        """The solvers, AdaSDE first."""
        return sorted(self.rows, key=lambda label: label != STUDENT)

    def best(self, nfe: int) -> str | None:
        """The label with the lowest mean FID at ``nfe``."""
        scores = {label: v[nfe]["fid"]["mean"] for label, v in self.rows.items() if nfe in v}
        return min(scores, key=scores.__getitem__) if scores else None

    def series(self, label: str) -> Iterator[tuple[int, float, float | None]]:
        """(NFE, mean FID, spread) of one solver, in order; no spread for one seed range."""
        for nfe in self.nfe:
            if nfe in self.rows[label]:
                fid = self.rows[label][nfe]["fid"]
                yield nfe, fid["mean"], fid["spread"]


def collect(metrics: Path, nfe: list[int], *, published: Published | None = None) -> Results:
    """Read ``floor.json`` and ``nfe<k>.json`` of the folder ``metrics``; ``published``: see ``Results``.

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
    teacher = next(iter(floor["rows"].values()), None)
    facts = floor["protocol"], floor["protocol_hash"]
    return Results(floor["model"], list(nfe), rows, teacher, *facts, published or {})


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
            _cell(numbers.get(nfe), results.published.get(label, {}).get(nfe), best=best[nfe] == label)
            for nfe in results.nfe
        ]
        learned = label == STUDENT
        group = "learned" if learned else "classical"
        rows.append(row(label, *cells, group=group, style="student" if learned else ""))
    return Table(
        columns=["solver", *(f"{nfe} NFE" for nfe in results.nfe)],
        rows=rows,
        title=f"FID on {results.model}, lower is better; mean ± spread",
        caption=" ".join(filter(None, (floor_text(results), PUBLISHED_NOTE * bool(results.published)))),
    )


def _cell(numbers: MetricsRow | None, published: float | None, *, best: bool) -> TableCell:
    """The FID of a row; the published one below it, on the terminal in brackets."""
    style: Style = "best" if best else ""
    if numbers is None or published is None:
        return TableCell(cell_text(numbers), style=style)
    return TableCell(cell_text(numbers), f"published {published:g}", f" ({published:g})", style)


def cell_text(numbers: MetricsRow | None) -> str:
    """The FID of a row as ``number_text``, or a dash."""
    return MISSING if numbers is None else number_text(numbers["fid"])


def floor_text(results: Results) -> str:
    """What the model reaches with many steps, a sentence; empty where it was not measured."""
    if results.teacher is None:
        return ""
    evaluations = results.teacher["nfe"]
    return f"The model itself: {cell_text(results.teacher)} with {evaluations} evaluations of Heun's method."
