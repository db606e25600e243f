"""The picture of a sweep: the metric over one setting, a line for every choice of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adasde.report.plots import PALETTE, new_figure, plain, save_figure
from flows.sweep.grid import shown
from flows.sweep.summary import Score, SweepSummary
from flows.tracking.run_names import short_names

WIDTH = 4.2
"""Inches: as wide as a description in MLflow's pages can show."""

MOST_LINES = 12
"""Lines that get a legend."""


def save_picture(summary: SweepSummary, path: Path) -> None:
    """Draw the scores of ``summary`` (at least one) as a PNG."""
    across = _across(summary.scores)
    lines: dict[str, list[Score]] = {}
    for score in summary.scores:
        lines.setdefault(_others(score, across), []).append(score)
    values = _values(summary.scores, across)
    numeric = all(_is_number(value) for value in values)
    figure = new_figure(WIDTH, 2.9)
    axes = figure.subplots()
    for index, (label, scores) in enumerate(sorted(lines.items())):
        ordered = sorted(scores, key=lambda score: values.index(_value(score, across)))
        x = [_value(s, across) if numeric else values.index(_value(s, across)) for s in ordered]
        y = [score.metrics[summary.metric] for score in ordered]
        spread = [score.metrics.get(f"{summary.metric}_spread", 0.0) for score in ordered]
        colour = PALETTE[index % len(PALETTE)]
        axes.errorbar(x, y, yerr=spread, capsize=3, marker="o", color=colour, label=label)
    if numeric and min(values) > 0 and max(values) >= 8 * min(values):
        axes.set_xscale("log")
    places = values if numeric else range(len(values))
    axes.set_xticks(list(places), [shown(value) for value in values], minor=False)
    axes.set_xticks([], minor=True)
    axes.set(xlabel=across, ylabel=summary.metric.upper(), title=f"{summary.title} on {summary.model}")
    if any(lines) and len(lines) <= MOST_LINES:
        axes.legend(frameon=False)
    plain(axes)
    save_figure(figure, path)


def _across(scores: Sequence[Score]) -> str:
    """The setting with the most values, numbers before words; the first of them, the budget last."""
    keys = [key for key in scores[0].settings if key != "nfe"] + ["nfe"]

    def weight(key: str) -> tuple[int, bool]:
        values = _values(scores, key)
        return len(values), all(_is_number(value) for value in values)

    return max(keys, key=weight)


def _value(score: Score, key: str) -> Any:
    return score.nfe if key == "nfe" else score.settings[key]


def _values(scores: Sequence[Score], key: str) -> list[Any]:
    """Every value once; numbers in order."""
    values: list[Any] = []
    for score in scores:
        if _value(score, key) not in values:
            values.append(_value(score, key))
    return sorted(values) if all(_is_number(value) for value in values) else values


def _others(score: Score, across: str) -> str:
    """The other settings of a trial, in short."""
    others = {key: value for key, value in score.settings.items() if key not in (across, "nfe")}
    short = short_names(others)
    words = [f"{short[key]}={shown(value)}" for key, value in others.items()]
    return " ".join([*words, *([f"{score.nfe} NFE"] if across != "nfe" else [])])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
