"""What the bench leaves for people and programs: JSON, CSV, tables, pictures, one page."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.experiments.bench.results import Row, best_rows
from adasde.report.page import STYLE, figure_html
from adasde.report.plots import save_figure
from adasde.report.table import MISSING, number_text
from adasde.utils.atomic_io import write_json, write_text

if TYPE_CHECKING:
    from rich.table import Table

NAMES = {"fid": "FID", "sliced_wasserstein": "sliced Wasserstein", "frechet": "Fréchet distance"}
COLUMNS = (
    "target", "label", "family", "solver", "nfe", "afs", "schedule", "steps", "metric", "mean", "spread",
    "measured_nfe", "ms_per_image", "error",
)  # fmt: skip


def write_outputs(document: dict[str, Any], out: Path) -> dict[str, str]:
    """Write bench.json, bench.csv, a table, a plot and sheets for every target, and index.html.

    Raises:
        DataError: ``out`` cannot be written.
    """
    from adasde.experiments.bench.pictures import draw

    write_json(out / "bench.json", document)
    write_text(out / "bench.csv", as_csv(document))
    parts = []
    for name, result in document["targets"].items():
        slug = name.replace(":", "-")
        write_text(out / f"{slug}.md", as_markdown(result))
        figures = draw(name, result, out / "cells")
        for file, _, figure in figures:
            save_figure(figure, out / f"{slug}-{file}.png")
        pictures = [(title, out / f"{slug}-{file}.png") for file, title, _ in figures]
        shown = "".join(figure_html(title, "", path) for title, path in pictures)
        parts.append(f"<h1>{html.escape(name)}</h1>{as_html(result)}{shown}")
    write_text(out / "index.html", _page(document, "\n".join(parts)))
    return {"out": str(out / "index.html"), "json": str(out / "bench.json"), "csv": str(out / "bench.csv")}


def as_csv(document: dict[str, Any]) -> str:
    """One line for every row, budget and metric; AFS on and off both."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    for name, result in document["targets"].items():
        for row in result["rows"]:
            for metric, numbers in row.get("metrics", {"": {}}).items():
                writer.writerow({**row, **numbers, "target": name, "metric": metric})
    return text.getvalue()


def cell_text(row: Row | None, metric: str) -> str:
    """``0.123 ± 0.004``, a dash where there is no such row, the word ``failed`` where it broke down."""
    if row is None:
        return MISSING
    return number_text(row["metrics"][metric]) if "metrics" in row else "failed"


def setting_text(row: Row) -> str:
    """The schedule and AFS that were chosen, and the wall time: ``logsnr + AFS, 0.21 ms``."""
    time = f", {row['ms_per_image']:.2g} ms" if "ms_per_image" in row else ""
    return row["schedule"] + " + AFS" * row["afs"] + time


def lines(result: dict[str, Any]) -> Iterator[tuple[str, str, list[tuple[str, str, bool]]]]:
    """(family, label, for every NFE (number, setting, is it the best of its column)) in the rows' order."""
    metric, table = result["metrics"][0], best_rows(result)
    budgets = budgets_of(result)
    best = {
        nfe: min(
            (cells[nfe]["metrics"][metric]["mean"], label)
            for label, cells in table.items()
            if nfe in cells and "metrics" in cells[nfe]
        )[1]
        for nfe in budgets
    }
    for label, cells in table.items():
        row = [cells.get(nfe) for nfe in budgets]
        family = next(iter(cells.values()))["family"]
        yield (
            family,
            label,
            [
                (cell_text(cell, metric), setting_text(cell) if cell else "", best[nfe] == label)
                for nfe, cell in zip(budgets, row, strict=True)
            ],
        )


def budgets_of(result: dict[str, Any]) -> list[int]:
    """The NFE of the table's columns."""
    return sorted({row["nfe"] for row in result["rows"]})


def floor_line(result: dict[str, Any]) -> str:
    """What the model itself can do."""
    floor, metric = result["floor"], result["metrics"][0]
    return f"Heun, {floor['steps']} steps: {cell_text(floor, metric)}"


def as_markdown(result: dict[str, Any]) -> str:
    """The table for a README; below every number the setting that was chosen for it."""
    budgets = budgets_of(result)
    title = f"{NAMES[result['metrics'][0]]}, mean ± spread"
    text = [
        f"| {title} | " + " | ".join(f"NFE {nfe}" for nfe in budgets) + " |",
        "|---" * (len(budgets) + 1) + "|",
    ]
    for _, label, cells in lines(result):
        shown = [
            (f"**{number}**" if best else number)
            + f"<br><sub>{setting.partition(',')[0]}</sub>" * bool(setting)
            for number, setting, best in cells
        ]
        text.append(f"| {label} | " + " | ".join(shown) + " |")
    return "\n".join([*text, "", floor_line(result), ""])


def as_html(result: dict[str, Any]) -> str:
    """The same table as HTML, with a line for every family."""
    budgets = budgets_of(result)
    head = "".join(f"<th>{nfe} NFE</th>" for nfe in budgets)
    parts = [f"<div class='scroll'><table><thead><tr><th>Sampler</th>{head}</tr></thead><tbody>"]
    before = ""
    for family, label, cells in lines(result):
        if family != before:
            parts.append(f'<tr><th class="small" colspan="{len(budgets) + 1}">{family}</th></tr>')
            before = family
        texts = [
            f'<td{" class=best" if best else ""}>{number}<br><span class="small">{setting}</span></td>'
            for number, setting, best in cells
        ]
        kind = ' class="student"' if family == "learned" else ""
        parts.append(f"<tr{kind}><th>{html.escape(label)}</th>{''.join(texts)}</tr>")
    title = f"{NAMES[result['metrics'][0]]}, mean ± standard deviation over disjoint seed ranges. "
    return "\n".join([*parts, f"</tbody></table></div><p class='small'>{title}{floor_line(result)}.</p>"])


def as_rich(name: str, result: dict[str, Any]) -> Table:
    """The table for the terminal; a star marks AFS."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1), title_justify="left",
        title=f"{name}: {NAMES[result['metrics'][0]]}",
        caption=f"{floor_line(result)}. *: with AFS.", caption_justify="left",
    )  # fmt: skip
    table.add_column("sampler", no_wrap=True)
    for nfe in budgets_of(result):
        table.add_column(f"{nfe} NFE", justify="right", no_wrap=True)
    before = None
    for family, label, cells in lines(result):
        if before not in (None, family):
            table.add_section()
        before = family
        texts = [number.replace(" ", "") + "*" * (" + AFS" in setting) for number, setting, _ in cells]
        marked = [f"[bold green]{t}[/]" if best else t for t, (_, _, best) in zip(texts, cells, strict=True)]
        table.add_row(label, *marked)
    return table


def _page(document: dict[str, Any], body: str) -> str:
    settings = document["settings"]
    note = (
        f"{settings['ranges']} disjoint ranges of {settings['images']} seeds. Below every number: the "
        "schedule that suited this sampler best at this number of evaluations (NFE), chosen on other seeds. "
        "AFS: the first direction is analytic and costs no evaluation. ms: wall time per sample, one thread. "
        "A dash: the sampler cannot spend "
        "exactly that many."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>adasde bench</title><style>{STYLE}</style></head><body>\n"
        f'<p class="lead">{note}</p>\n{body}\n</body></html>\n'
    )
