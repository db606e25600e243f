"""The analysis as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from adasde.experiments.two_circles.pictures import TITLES
from adasde.experiments.two_circles.results import METHOD, Analysis
from adasde.experiments.two_circles.verdicts import Verdict
from adasde.report.page import PageSection, page
from adasde.report.table import Table, row

LEAD = (
    "Two noisy circles whose exact denoiser is known: total = network against data, gradient = network "
    "against exact denoiser, discretisation = exact denoiser against data, over the number of steps of "
    "Heun's method, with noise γ injected before the steps (arXiv 2510.23285)."
)
NOTE = (
    "A statement holds at a number of steps N if simultaneous 95 % intervals of the paired differences to "
    "γ = 0 say so. W1 in the plane is the distance itself, on few points, and cannot resolve anything below "
    "its floor. W1 of the radius uses all points and has next to no floor, and is blind to errors of the "
    "angle."
)


def analysis_page(found: Analysis, pictures: Sequence[PageSection]) -> str:
    """The HTML text: verdicts, ``pictures``, the differences behind the verdicts, method and settings."""
    settings = asdict(found.measured.settings)
    settings |= settings.pop("circles")
    sections = [
        PageSection("Which statements hold", table=verdicts_table(found.verdicts), note=NOTE),
        *pictures,
        PageSection("The deciding differences", table=differences_table(found.verdicts)),
        PageSection("How it was measured", facts=METHOD | settings),
    ]
    return page("ODE or SDE: where the error comes from", LEAD, sections)


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """Statement by measure: the outcome."""
    by: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        by.setdefault(verdict.statement, {})[verdict.measure] = verdict.summary
    rows = [row(statement, *(found[measure] for measure in TITLES)) for statement, found in by.items()]
    return Table(["Statement", *TITLES.values()], rows, prose=True)


def differences_table(verdicts: Sequence[Verdict]) -> Table:
    """The difference to γ = 0 that decides, for every statement, measure and number of steps."""
    rows = [
        row(
            verdict.statement,
            verdict.measure,
            f"{one.steps}",
            f"{one.gamma:g}",
            f"{one.difference.mean:+.5f}",
            f"{one.difference.low:+.5f} … {one.difference.high:+.5f}",
            one.outcome,
        )
        for verdict in verdicts
        for one in verdict.findings
    ]
    return Table(["Statement", "W1 of", "N", "γ", "difference", "interval", "outcome"], rows)
