"""Pictures of the report, drawn without a display; equal data give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from adasde.config.baselines import AFS
from adasde.report.results import Results
from adasde.sampling.coefficients import Coefficients
from adasde.utils.atomic_io import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCENT = "#d1495b"
STUDENT_COLOURS = (ACCENT, "#1b1b3a", "#693668", "#a74482")
FLOOR = "#666666"
FEATURES = "#222222"
PALETTE = ("#2e6f95", "#e08e2b", "#4f8a5b", "#7b5ea7", "#3aa6a0", "#a0632f", "#8a8d91")
GAP = 1


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG atomically (DataError: it cannot be written)."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})


def new_figure(width: float, height: float) -> Figure:
    """A figure without a window or global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def fid_figure(results: Results) -> Figure:
    """FID over NFE on a logarithmic axis, a line a solver; dashed with the analytic first step."""
    figure = new_figure(8.5, 5.2)
    axes = figure.subplots()
    bases = list(
        dict.fromkeys(label.removesuffix(AFS) for label in results.rows if label not in results.students)
    )
    for label in reversed(results.labels):
        nfe, mean, spread = zip(*results.series(label), strict=True)
        bars = np.array(spread, dtype=float)  # not a number, and no bar, where there is no spread
        shown = np.minimum(bars, 0.9 * np.array(mean))  # a logarithmic axis cannot show a bar down to zero
        axes.errorbar(
            nfe,
            mean,
            yerr=shown,
            capsize=2,
            elinewidth=1,
            label=label,
            **_look(label, bases, list(results.students)),
        )
    if (floor := results.teacher) is not None:
        axes.axhline(floor["fid"]["mean"], color=FLOOR, linestyle=":", label=f"Heun, {floor['nfe']} NFE")
    axes.set(yscale="log", xlabel="network evaluations per image (NFE)", ylabel="FID (lower is better)")
    axes.set_xticks(results.nfe)
    plain_numbers(axes)
    handles, labels = axes.get_legend_handles_labels()
    place_of = {label: place for place, label in enumerate(results.students)}
    order = sorted(range(len(labels)), key=lambda i: place_of.get(labels[i], len(place_of)))
    place: dict[str, Any] = {"loc": "outside right center", "frameon": False}
    figure.legend([handles[i] for i in order], [labels[i] for i in order], **place)
    plain(axes)
    return figure


def _look(label: str, bases: Sequence[str], students: Sequence[str]) -> dict[str, Any]:
    if label in students:
        colour = STUDENT_COLOURS[students.index(label) % len(STUDENT_COLOURS)]
        return {"color": colour, "linewidth": 3, "marker": "o", "markersize": 8, "zorder": 5}
    colour = PALETTE[bases.index(label.removesuffix(AFS)) % len(PALETTE)]
    dash = "--" if label.endswith(AFS) else "-"
    return {"color": colour, "linewidth": 1.4, "linestyle": dash, "marker": "."}


def plain_numbers(axes: Axes) -> None:
    """Label the logarithmic axis with 0.5 and 20, not with powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def coefficients_figure(students: Mapping[str, Mapping[int, Coefficients]]) -> Figure:
    """The learned numbers step by step: noise, midpoint (or weights of the multistep form), scales.

    A row of panels per student (label -> NFE -> coefficients), a line per NFE; further points or earlier
    evaluations are fainter.
    """
    figure = new_figure(13, 2.9 * len(students))
    rows = figure.subplots(len(students), 4, squeeze=False)
    for row, (label, tables) in zip(rows, students.items(), strict=True):
        own = all(table.midpoint.numel() for table in tables.values())
        panels = [
            ("gamma", "noise injection γ", None),
            ("midpoint", "midpoint exponent r", 0.5) if own else ("weights", "weights of evaluations w", 0.0),
            ("direction_scale", "direction scale λ", 1.0),
            ("time_scale", "time scale μ", 1.0),
        ]
        for axes, (name, title, neutral) in zip(row, panels, strict=True):
            _draw_values(axes, tables, name)
            if neutral is not None:
                axes.axhline(neutral, color=FLOOR, linestyle=":", linewidth=1)
            axes.set(title=title, xlabel="step")
            axes.set_xticks(range(1, max(table.steps for table in tables.values()) + 1))
            plain(axes)
        row[0].set_ylabel(label, fontweight="bold")
        row[0].legend(frameon=False)
    return figure


def _draw_values(axes: Axes, tables: Mapping[int, Coefficients], name: str) -> None:
    for i, (nfe, table) in enumerate(tables.items()):
        values = np.atleast_2d(getattr(table, name).numpy().T).T
        steps, colour = np.arange(1, table.steps + 1), PALETTE[i % len(PALETTE)]
        for k in range(values.shape[1]):
            label, alpha = f"{nfe} NFE" if k == 0 else None, max(0.2, 1 - 0.3 * k)
            axes.plot(steps, values[:, k], marker="o", color=colour, label=label, alpha=alpha)


def losses_figure(students: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]) -> Figure:
    """Loss of every node over the iterations, a row per student, a panel per NFE; full: running mean.

    ``students``: label -> NFE -> the columns of ``loss.csv``, each [iterations].
    """
    count = max(len(losses) for losses in students.values())
    figure = new_figure(3.4 * max(2, count), 3.2 * len(students))
    rows = figure.subplots(len(students), count, squeeze=False)
    for row, (label, losses) in zip(rows, students.items(), strict=True):
        for axes, (nfe, columns) in zip(row, losses.items(), strict=False):
            _draw_losses(axes, columns)
            axes.set(title=f"{nfe} NFE", xlabel="iteration")
            plain(axes)
        row[0].set_ylabel(f"loss, {label}")
    every = [axes.get_legend_handles_labels() for axes in rows.flat]
    entries = {label: line for lines, labels in every for line, label in zip(lines, labels, strict=True)}
    order = sorted(entries)  # features, node 1, node 2 ...
    figure.legend([entries[label] for label in order], order, loc="outside right center", frameon=False)
    return figure


def _draw_losses(axes: Axes, columns: Mapping[str, np.ndarray]) -> None:
    for i, name in enumerate(name for name in columns if name != "iteration"):
        colour = {"features": FEATURES, "energy": ACCENT}.get(name, PALETTE[i % len(PALETTE)])
        axes.plot(columns["iteration"], columns[name], color=colour, alpha=0.2, linewidth=0.7)
        smooth = _running_mean(columns["iteration"], columns[name])
        axes.plot(*smooth, color=colour, label=name.replace("_", " "))
    signed = "energy" in columns  # the unbiased estimate can be negative
    axes.set_yscale("symlog", linthresh=1e-3) if signed else axes.set_yscale("log")


def _running_mean(iterations: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    window = max(1, len(values) // 20)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    return iterations[window - 1 :], smooth


def samples_figure(rows: Sequence[tuple[str, Tensor]], *, title: str) -> Figure:
    """One row of images a solver, one column a seed, enlarged without smoothing.

    ``rows``: (label, uint8 images [columns, C, H, W]); the same seeds in the same order everywhere.
    """
    sheet = contact_sheet([images for _, images in rows])
    height, width = sheet.shape[:2]
    pitch = (height + GAP) / len(rows)
    inches = 8 * height / width
    figure = new_figure(10, inches + 0.4)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.19, 0, 0.8, inches / (inches + 0.4)))
    axes.imshow(sheet, interpolation="nearest", cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks(
        [pitch * (i + 0.5) - (GAP + 1) / 2 for i in range(len(rows))], [label for label, _ in rows]
    )
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    return figure


def contact_sheet(rows: Sequence[Tensor]) -> np.ndarray:
    """Rows of images [n, C, H, W] on white: uint8 [rows (H + gap), n (W + gap), 3], without 3 for C = 1."""
    pad = ((0, 0), (0, GAP), (0, GAP), (0, 0))
    tiles = [np.pad(row.permute(0, 2, 3, 1).numpy(), pad, constant_values=255) for row in rows]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles], axis=0)[:-GAP, :-GAP]
    return sheet[:, :, 0] if sheet.shape[2] == 1 else sheet


def plain(axes: Axes) -> None:
    """Common style: a faint grid, no frame at the top and on the right."""
    axes.grid(True, which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
