"""The bench's results as one JSON document, and quantities derived from it."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

from adasde.config.metrics import METRIC_INFO
from adasde.experiments.bench.settings import BenchSettings
from adasde.report.table import MISSING, number_text
from adasde.utils.version import VERSION

MeasuredRow = dict[str, Any]
"""One sampler at one budget: see ``BenchPlan.run`` for its keys."""

NAMES = {
    "fid": METRIC_INFO["fid"].label,
    "sliced_wasserstein": "sliced Wasserstein",
    "frechet": "Fréchet distance",
}

CLASSICAL = ("single-step", "multistep", "stochastic")


def summary(ranges: list[dict[str, Any]]) -> dict[str, Any]:
    """The results of a sampler's seed ranges as mean, spread and values.

    ``metrics``: for each, ``mean``, ``spread`` (standard deviation over the ranges, None for one) and
    ``values``; ``nfe`` measured; milliseconds per image. ``error`` instead, if a range broke down.
    """
    broken = [result["error"] for result in ranges if "error" in result]
    if broken:
        return {"error": broken[0]}
    metrics = {}
    for name in ranges[0]["metrics"]:
        values = [float(result["metrics"][name]) for result in ranges]
        spread = statistics.stdev(values) if len(values) > 1 else None
        metrics[name] = {"mean": statistics.fmean(values), "spread": spread, "values": values}
    seconds = statistics.median(result["seconds"] for result in ranges)
    images = ranges[0]["images"]
    return {"metrics": metrics, "measured_nfe": ranges[0]["nfe"], "ms_per_image": 1000 * seconds / images}


def document(settings: BenchSettings, measured: dict[str, Any]) -> dict[str, Any]:
    """The settings, and for every target its rows, floor and ratios."""
    import torch

    about = asdict(settings)
    about["learned"] = [entry.name for entry in settings.learned]
    about |= {"version": VERSION, "torch": torch.__version__}
    targets = {name: result | {"ratios": ratios(result)} for name, result in measured.items()}
    return {"settings": about, "targets": targets}


def budgets_of(result: dict[str, Any]) -> list[int]:
    """The budgets (NFE) that have a row, in order."""
    return sorted({row["nfe"] for row in result["rows"]})


def cell_text(row: MeasuredRow | None, metric: str) -> str:
    """``0.123 ± 0.004``; a dash without a row; ``failed`` for a sampler that broke down."""
    if row is None:
        return MISSING
    return number_text(row["metrics"][metric]) if "metrics" in row else "failed"


def score(row: MeasuredRow, metric: str) -> float:
    """Mean of the metric; infinite if the sampler broke down."""
    return row["metrics"][metric]["mean"] if "metrics" in row else float("inf")


def best_rows(result: dict[str, Any]) -> dict[str, dict[int, MeasuredRow]]:
    """Label -> NFE -> the better of AFS on and off, by the validation seeds."""
    table: dict[str, dict[int, MeasuredRow]] = {}
    for row in result["rows"]:
        cells = table.setdefault(row["label"], {})
        other = cells.get(row["nfe"])
        if other is None or min(row["tried"].values()) < min(other["tried"].values()):
            cells[row["nfe"]] = row
    return table


def ratios(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Every learned row's metric over that of its own solver, the best single-step and the best of all.

    The classical solvers are at their best schedule, AFS on or off.
    """
    metric, found = result["metrics"][0], []
    rows = [row for row in result["rows"] if "metrics" in row]
    for row in rows:
        if row["family"] != "learned":
            continue
        others = [other for other in rows if other["nfe"] == row["nfe"] and other["family"] in CLASSICAL]
        own = [other for other in others if other["solver"] == row["solver"]]
        rivals = {
            f"best {row['solver']}": own,
            "best single-step": [other for other in others if other["family"] == "single-step"],
            "best classical": others,
        }
        for name, group in rivals.items():
            if group:
                rival = min(group, key=lambda other: score(other, metric))
                value = score(row, metric) / score(rival, metric)
                found.append({"row": row["label"], "nfe": row["nfe"], "over": name, "ratio": value})
    return found
