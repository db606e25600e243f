"""The results of the report, and the table of them in Markdown."""

from __future__ import annotations

import json
from pathlib import Path

from adasde.errors import DataError
from adasde.report.results import Results
from adasde.report.table import cells_of, floor_text


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


def markdown_table(results: Results) -> str:
    """Solver by NFE, FID mean ± spread, the best of every column in bold, the model's own floor below."""
    head = ["solver", *(f"{nfe} NFE" for nfe in results.nfe)]
    lines = [head, ["---", *("---:" for _ in results.nfe)]]
    for label, cells in cells_of(results).items():
        lines.append([label, *(f"**{text}**" if best else text for text, best in cells)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"FID on {results.model}, lower is better.\n\n{table}\n\nThe model itself: {floor_text(results)}."
