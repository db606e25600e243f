"""The results as one JSON document: every error with its bands, the differences, the verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adasde.experiments.two_circles.distances import Estimate, estimate
from adasde.experiments.two_circles.experiment import ErrorMeasurements, Key
from adasde.experiments.two_circles.verdicts import Cells, Verdict, verdicts

METHOD = {
    "total": "W1(samples of the network, data)",
    "gradient": "W1(samples of the network, samples of the exact denoiser)",
    "discretisation": "W1(samples of the exact denoiser, data)",
    "plane": "exact W1 in 2-D by SciPy's linear_sum_assignment, on one block a group, of independent clouds",
    "radius": "exact W1 of the distance from the origin, on complete groups, of clouds from the same latents "
    "and noises, the data's by the exact flow; a lower bound of W1 in 2-D",
    "mean, low, high": "over the groups; 95 % interval of Student's t",
    "difference": "error minus that of gamma = 0 on the same points; the intervals of one kind and measure "
    "hold simultaneously with 95 % (Bonferroni)",
    "floor": "the same distance in the plane with new data in place of the samples",
    "solver": "Heun's method behind the injection, EDM's grid from 80 to 0.002; gamma = 0 at the first step",
}


@dataclass(frozen=True)
class Analysis:
    """All estimates of a run.

    Attributes:
        measured: the samples behind the estimates.
        errors: (measure, kind) -> steps -> gamma -> the error.
        differences: the same for gamma > 0, minus gamma = 0; simultaneous intervals.
        floor: the distance of new data, in the plane.
        verdicts: of every statement in every measure.
    """

    measured: ErrorMeasurements
    errors: dict[Key, Cells]
    differences: dict[Key, Cells]
    floor: Estimate
    verdicts: list[Verdict]


def analysis(measured: ErrorMeasurements) -> Analysis:
    """Estimates and verdicts."""
    settings = measured.settings
    comparisons = (len(settings.gammas) - 1) * len(settings.steps)
    errors, differences = {}, {}
    for key, values in measured.errors.items():
        errors[key] = cells(measured, values, 0.95, skip=0)
        differences[key] = cells(measured, values - values[:1], 1 - 0.05 / comparisons, skip=1)
    return Analysis(measured, errors, differences, estimate(measured.floor), verdicts(differences))


def cells(measured: ErrorMeasurements, values: np.ndarray, confidence: float, *, skip: int) -> Cells:
    """Estimates by steps and gamma of ``values`` [gammas, steps, groups], from gamma number ``skip`` on."""
    gammas, steps = measured.settings.gammas, measured.settings.steps
    return {
        n: {gammas[i]: estimate(values[i, j], confidence) for i in range(skip, len(gammas))}
        for j, n in enumerate(steps)
    }


def document(found: Analysis) -> dict[str, Any]:
    """The JSON value of ``analysis.json``: settings, method, one row a number, verdicts."""
    rows = [
        {
            "measure": measure, "kind": kind, "steps": steps, "gamma": gamma, **_rounded(error),
            "difference": _rounded(found.differences[measure, kind][steps][gamma]) if gamma else None,
        }
        for (measure, kind), by_steps in found.errors.items()
        for steps, by_gamma in by_steps.items()
        for gamma, error in by_gamma.items()
    ]  # fmt: skip
    return {
        "paper": "arXiv 2510.23285",
        "settings": asdict(found.measured.settings),
        "method": METHOD,
        "verdicts": [asdict(v) | {"summary": v.summary} for v in found.verdicts],
        "floor": {"measure": "plane", **_rounded(found.floor)},
        "errors": rows,
    }


def _rounded(value: Estimate) -> dict[str, float]:
    return {name: round(number, 7) for name, number in asdict(value).items()}
