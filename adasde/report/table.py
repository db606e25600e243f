"""The results as a table: for the terminal (rich) and for the page (HTML)."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adasde.config.params import STUDENT
from adasde.report.results import Results, Row

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "–"


def results_table(results: Results) -> Table:
    """FID mean ± spread, solver by NFE; the best of every column in bold, the model's own floor below."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 2),
        title=f"FID on {results.model}, mean ± spread",
        caption=f"The model itself: {floor_text(results)}.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("solver", no_wrap=True)
    for nfe in results.nfe:
        table.add_column(f"{nfe} NFE", justify="right", no_wrap=True)
    for label, cells in cells_of(results).items():
        narrow = [(text.replace(" ", ""), best) for text, best in cells]  # five columns in 80 characters
        texts = [f"[bold green]{text}[/]" if best else text for text, best in narrow]
        table.add_row(
            f"[bold]{label}[/]" if label == STUDENT else label, *texts, end_section=label == STUDENT
        )
    return table


def cells_of(results: Results) -> dict[str, list[tuple[str, bool]]]:
    """Solver label -> for every NFE (text, is it the best of its column); AdaSDE first."""
    best = {nfe: results.best(nfe) for nfe in results.nfe}
    return {
        label: [(cell_text(results.rows[label].get(nfe)), best[nfe] == label) for nfe in results.nfe]
        for label in results.labels
    }


def cell_text(row: Row | None) -> str:
    """The FID of a row as ``number_text``, or a dash."""
    return MISSING if row is None else number_text(row["fid"])


def number_text(numbers: Mapping[str, Any]) -> str:
    """``0.123 ± 0.004`` from ``mean`` and ``spread``, with three significant digits of the mean."""
    mean, spread = numbers["mean"], numbers["spread"]
    digits = 3 if mean < 1 else 2 if mean < 10 else 1
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def floor_text(results: Results) -> str:
    """What the model reaches with many steps, in words."""
    return f"{cell_text(results.teacher)} with {results.teacher['nfe']} evaluations of Heun's method"


def html_table(results: Results) -> str:
    """The same table as HTML."""
    head = "".join(f"<th>{nfe} NFE</th>" for nfe in results.nfe)
    lines = [f"<table><thead><tr><th>Solver</th>{head}</tr></thead><tbody>"]
    for label, cells in cells_of(results).items():
        row = "".join(f'<td class="best">{text}</td>' if best else f"<td>{text}</td>" for text, best in cells)
        kind = ' class="student"' if label == STUDENT else ""
        lines.append(f"<tr{kind}><th>{html.escape(label)}</th>{row}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def markdown_table(results: Results) -> str:
    """Solver by NFE, FID mean ± spread, the best of every column in bold, the model's own floor below."""
    head = ["solver", *(f"{nfe} NFE" for nfe in results.nfe)]
    lines = [head, ["---", *("---:" for _ in results.nfe)]]
    for label, cells in cells_of(results).items():
        lines.append([label, *(f"**{text}**" if best else text for text, best in cells)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"FID on {results.model}, lower is better.\n\n{table}\n\nThe model itself: {floor_text(results)}."
