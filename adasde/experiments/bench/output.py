"""What the bench writes: JSON, CSV, tables, pictures, one page."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from adasde.experiments.bench.pictures import draw
from adasde.experiments.bench.results import NAMES, MeasuredRow, best_rows, budgets_of, cell_text, score
from adasde.report.page import PageSection, page
from adasde.report.plots import save_figure
from adasde.report.table import Table, TableCell, row
from adasde.utils.atomic_io import write_json, write_text

COLUMNS = (
    "target", "label", "family", "solver", "nfe", "afs", "schedule", "steps", "metric", "mean", "spread",
    "measured_nfe", "ms_per_image", "error",
)  # fmt: skip


NOTE = (
    "{ranges} disjoint ranges of {images} test seeds. Below every number: the best schedule of this sampler "
    "at this number of evaluations (NFE), chosen on validation seeds. AFS: the first direction is analytic "
    "and costs no evaluation. ms: wall time per sample, one thread. A dash: the sampler cannot spend exactly "
    "that many evaluations."
)


def write_outputs(document: dict[str, Any], out: Path) -> dict[str, str]:
    """Write bench.json, bench.csv, a table, a plot and sheets for every target, and index.html.

    Raises:
        DataError: ``out`` cannot be written.
    """
    write_json(out / "bench.json", document)
    write_text(out / "bench.csv", as_csv(document))
    sections = []
    for name, result in document["targets"].items():
        slug = name.replace(":", "-")
        write_text(out / f"{slug}.md", bench_table(name, result).markdown() + "\n")
        table = bench_table(name, result, times=True)
        sections.append(
            PageSection(name, table=table, note=f"{table.title} over the seed ranges. {table.caption}.")
        )
        for file, heading, figure in draw(name, result, out / "cells"):
            picture = out / f"{slug}-{file}.png"
            save_figure(figure, picture)
            sections.append(PageSection(f"{name}: {heading}", picture=picture))
    write_text(out / "index.html", page("adasde bench", NOTE.format(**document["settings"]), sections))
    return {"out": str(out / "index.html"), "json": str(out / "bench.json"), "csv": str(out / "bench.csv")}


def as_csv(document: dict[str, Any]) -> str:
    """A line per row, budget and metric, with AFS and without."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    for name, result in document["targets"].items():
        for found in result["rows"]:
            for metric, numbers in found.get("metrics", {"": {}}).items():
                writer.writerow({**found, **numbers, "target": name, "metric": metric})
    return text.getvalue()


def bench_table(name: str, result: dict[str, Any], *, times: bool = False) -> Table:
    """Sampler by NFE, the deciding metric of the best schedule; below every number its setting.

    ``times``: with the wall time. On the terminal a star stands for AFS.
    """
    metric, budgets, samplers = result["metrics"][0], budgets_of(result), best_rows(result)
    best = {
        nfe: min((score(cells[nfe], metric), label) for label, cells in samplers.items() if nfe in cells)[1]
        for nfe in budgets
    }
    rows = []
    for label, cells in samplers.items():
        family = next(iter(cells.values()))["family"]
        numbers = [_cell(cells.get(nfe), metric, best=best[nfe] == label, times=times) for nfe in budgets]
        rows.append(row(label, *numbers, group=family, style="student" if family == "learned" else ""))
    return Table(
        columns=["sampler", *(f"{nfe} NFE" for nfe in budgets)],
        rows=rows,
        title=f"{name}: {NAMES[metric]}, mean ± spread",
        caption=f"Heun, {result['floor']['steps']} steps: {cell_text(result['floor'], metric)}",
    )


def _cell(found: MeasuredRow | None, metric: str, *, best: bool, times: bool) -> TableCell:
    """Metric and setting, ``logsnr + AFS, 0.21 ms``; a dash where the sampler cannot spend the budget."""
    if found is None:
        return TableCell()
    note = found["schedule"] + " + AFS" * found["afs"]
    if times and "ms_per_image" in found:
        note += f", {found['ms_per_image']:.2g} ms"
    best = best and "metrics" in found
    return TableCell(cell_text(found, metric), note, "*" * found["afs"], "best" if best else "")
