"""The pictures of the analysis: an error over the number of steps, and the samples themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adasde.experiments.two_circles.experiment import MEASURES, ErrorMeasurements
from adasde.experiments.two_circles.results import Analysis
from adasde.report.plots import ACCENT, FEATURES, FLOOR, PALETTE, new_figure, plain, plain_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"plane": "W1 in the plane", "radius": "W1 of the radius"}
DOTS = 3_000
"""Points drawn of a cloud."""


def error_figure(found: Analysis, kind: str) -> Figure:
    """One kind of error over the steps, a line a gamma; below, the difference to the ODE in per cent."""
    figure = new_figure(9.5, 6.4)
    settings = found.measured.settings
    points = {"plane": settings.block, "radius": settings.group}
    grid = figure.subplots(2, 2, sharex=True, height_ratios=(3, 2))
    for measure, (upper, lower) in zip(MEASURES, grid.T, strict=True):
        _errors(upper, found, measure, kind)
        _differences(lower, found, measure, kind)
        upper.set_title(f"{TITLES[measure]}, {points[measure]} points")
        lower.set_xlabel("steps N")
    grid[0, 0].set_ylabel(f"{kind} error")
    grid[1, 0].set_ylabel("difference to γ = 0, %")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def _errors(axes: Axes, found: Analysis, measure: str, kind: str) -> None:
    from matplotlib.ticker import LogLocator

    cells = found.errors[measure, kind]
    for gamma, colour in colours(found.measured).items():
        line = [cells[steps][gamma] for steps in cells]
        label = f"γ = {gamma:g}" + " (ODE)" * (gamma == 0)
        axes.plot(list(cells), [e.mean for e in line], color=colour, marker=".", label=label)
        axes.fill_between(
            list(cells), [e.low for e in line], [e.high for e in line], color=colour, alpha=0.15
        )
    if measure == "plane":
        axes.axhline(found.floor.mean, color=FLOOR, linestyle=":", label="floor: new data\nfor the samples")
    axes.set(yscale="log")
    plain_numbers(axes)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))  # some axes span less than a decade
    plain(axes)


def _differences(axes: Axes, found: Analysis, measure: str, kind: str) -> None:
    cells, base = found.differences[measure, kind], found.errors[measure, kind]
    for gamma, colour in list(colours(found.measured).items())[1:]:
        scale = np.array([100 / base[steps][0.0].mean for steps in cells])
        low, mean, high = (
            scale * [getattr(cells[steps][gamma], name) for steps in cells]
            for name in ("low", "mean", "high")
        )
        axes.plot(list(cells), mean, color=colour, marker=".")
        axes.fill_between(list(cells), low, high, color=colour, alpha=0.15)
    axes.axhline(0, color=FEATURES, linewidth=1)
    plain(axes)


def colours(measured: ErrorMeasurements) -> dict[float, str]:
    """gamma -> colour: dark for the ODE, the accent for the largest."""
    *middle, last = measured.settings.gammas[1:]
    return {0.0: FEATURES, **{g: PALETTE[i % len(PALETTE)] for i, g in enumerate(middle)}, last: ACCENT}


def clouds_figure(measured: ErrorMeasurements) -> Figure:
    """Data, the exact denoiser's samples and the network's, side by side."""
    most = measured.settings.gammas[-1]
    titles = {
        "data": "data",
        "exact": "exact denoiser, ODE",
        "ode": "network, ODE",
        "sde": f"network, γ = {most:g}",
    }
    figure = new_figure(11, 3.2)
    row = figure.subplots(1, len(titles), sharex=True, sharey=True)
    for axes, (name, title) in zip(row, titles.items(), strict=True):
        colour = {"ode": FEATURES, "sde": ACCENT}.get(name, PALETTE[0])
        axes.scatter(*measured.clouds[name][:DOTS].T, s=1.5, alpha=0.4, linewidths=0, color=colour)
        axes.set(title=title, aspect="equal", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
        plain(axes)
    return figure
