"""Pictures of the bench: the deciding metric over NFE, and sheets of samples of the same seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.errors import DataError
from adasde.experiments.bench.results import NAMES, best_rows, budgets_of, cell_text
from adasde.experiments.bench.samplers import LEARNED
from adasde.report.plots import ACCENT, FLOOR, PALETTE, new_figure, plain, plain_numbers, samples_figure
from adasde.sampling.coefficients import OWN
from adasde.utils.safetensors_io import load_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {"single-step": ":", "multistep": "-", "stochastic": "--", "learned": "-"}
FIRST = ("multistep", "paper", OWN)
"""The first of these recipes that was measured is highlighted."""

SHOWN = 16
"""Seeds shown side by side."""


def draw(name: str, result: dict[str, Any], cells: Path) -> list[tuple[str, str, Figure]]:
    """(file name, heading, picture) of one target; ``cells``: the cache with the images."""
    heading = f"{NAMES[result['metrics'][0]]} over network evaluations"
    figures = [("quality", heading, quality_figure(result))]
    for nfe in budgets_of(result):
        rows = sheet_rows(result, nfe, cells)
        if rows:
            title = f"{name}: {nfe} evaluations per image; every column is one seed"
            figures.append((f"samples-nfe{nfe}", f"Samples at {nfe} NFE", samples_figure(rows, title=title)))
    return figures


def quality_figure(result: dict[str, Any]) -> Figure:
    """The metric, logarithmic, over NFE; dotted: single-step, dashed: stochastic, thick: learned.

    The multistep recipe is red; without it among the rows, the paper's, or AdaSDE's own step.
    """
    figure = new_figure(9.5, 6.2)
    axes = figure.subplots()
    metric, counts = result["metrics"][0], dict.fromkeys(STYLES, 0)
    best = best_rows(result)
    shown_off = next((LEARNED[name].label for name in FIRST if LEARNED[name].label in best), "")
    for label, cells in best.items():
        points = [(nfe, cells[nfe]["metrics"][metric]) for nfe in sorted(cells) if "metrics" in cells[nfe]]
        if not points:
            continue
        family = next(iter(cells.values()))["family"]
        colour = ACCENT if label == shown_off else PALETTE[counts[family] % len(PALETTE)]
        counts[family] += label != shown_off
        nfe, numbers = zip(*points, strict=True)
        axes.plot(
            nfe,
            [value["mean"] for value in numbers],
            label=label,
            color=colour,
            linestyle=STYLES[family],
            linewidth=3.2 if label == shown_off else 1.8 if family == "learned" else 1.0,
            marker="o" if family == "learned" else ".",
            markersize=4,
            zorder=5 if label == shown_off else 2,
        )
    if "metrics" in result["floor"]:
        label = f"Heun, {result['floor']['steps']} steps"
        axes.axhline(result["floor"]["metrics"][metric]["mean"], color=FLOOR, linewidth=1, label=label)
    axes.set(
        yscale="log",
        xlabel="network evaluations per sample (NFE)",
        ylabel=f"{NAMES[metric]} (lower is better)",
    )
    axes.set_xticks(budgets_of(result))
    plain_numbers(axes)
    plain(axes)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure


def sheet_rows(result: dict[str, Any], nfe: int, cells: Path) -> list[tuple[str, Any]]:
    """The first images of every sampler at ``nfe``; empty if the target has no images."""
    metric, rows = result["metrics"][0], []
    for label, of in best_rows(result).items():
        if nfe not in of:
            continue
        try:
            images = load_images(cells / f"{of[nfe]['cell']}.safetensors")[:SHOWN]
        except DataError:
            continue
        rows.append((f"{label}\n{cell_text(of[nfe], metric)}", images))
    return rows
