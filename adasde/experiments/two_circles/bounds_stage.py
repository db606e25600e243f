"""The measured bounds as a stage: writes bounds.json, tables and a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adasde.experiments.two_circles.bounds import BoundSettings, FinalError, MeasuredStep, measured
from adasde.experiments.two_circles.bounds_tables import summaries
from adasde.experiments.two_circles.steps import StepTerms
from adasde.experiments.two_circles.theorems import (
    gradient_bound,
    log10_merging,
    printed_scale,
)
from adasde.report.page import PageSection, page
from adasde.report.table import Table, row
from adasde.utils.atomic_io import write_json, write_text

LEAD = (
    "Every step of AdaSDE on two circles: what noise γ does to the error that the step takes over, and what "
    "the step adds (arXiv 2510.23285, Theorems 1 to 3)."
)
NOTE = (
    "TV: total variation of the sampler's law and the true one, before and after the noise; kept: their "
    "ratio. gradient, added, total: W1 of what the step takes over, of what it adds, and after it. λ: the "
    "share that Theorem 2's factor 1 − λ takes away, with the variance of the injected noise. γ = 0 is the "
    "ODE; the student's own γ has a star."
)
COLUMNS = ["NFE, step, t", "γ", "TV before", "after", "kept", "log10 λ", "gradient", "added", "total"]


def bounds(settings: BoundSettings, *, out: Path) -> dict[str, Any]:
    """Write ``out``/{bounds.json, bounds.md, index.html}; returns paths and largest violations of the bounds.

    Raises:
        DataError: ``out`` cannot be written.
        ModuleNotFoundError: SciPy is missing.
    """
    steps: list[MeasuredStep] = []
    finals: list[FinalError] = []
    for one in measured(settings):
        (steps if isinstance(one, MeasuredStep) else finals).append(one)  # type: ignore[arg-type]
    excess = violations([one.terms for one in steps])
    document: dict[str, Any] = {
        "paper": "arXiv 2510.23285",
        "settings": asdict(settings),
        "violations": excess,
        "steps": [step_record(one) for one in steps],
        "finals": [asdict(one) | {"wasserstein": round(one.wasserstein, 5)} for one in finals],
    }
    write_json(out / "bounds.json", document)
    tables = summaries(document)
    write_text(out / "bounds.md", "\n\n".join(table.markdown() for table in tables) + "\n")
    write_text(out / "index.html", bounds_page(steps, tables[-1]))
    return {"out": str(out / "index.html"), "results": str(out / "bounds.json"), "violations": excess}


def violations(terms: Sequence[StepTerms]) -> dict[str, float]:
    """Inequality -> left side minus right side, the largest over all steps; at most 0 where it always holds.

    Of the discretisation the logarithms (base 10) are compared.
    """
    excess = {
        "Theorem 3: TV after the noise <= TV before": [one.after - one.before for one in terms],
        "Lemma 3: TV after the noise <= (1 - lambda) TV before": [
            one.after - gradient_bound(one.known, one.before, one.scale) / one.known.diameter for one in terms
        ],
        "Theorems 1 and 2, first term: gradient error <= B TV after the noise": [
            one.gradient - gradient_bound(one.known, one.after) for one in terms
        ],
        "Theorems 1 and 2, second term: Euler's discretisation error <= its bound": [
            math.log10(max(one.euler, 1e-300)) - one.log10_second_term for one in terms
        ],
        "Triangle: total <= gradient + discretisation": [
            one.total - one.gradient - one.discretisation for one in terms
        ],
    }
    return {name: max(values) for name, values in excess.items()}


def step_record(one: MeasuredStep) -> dict[str, Any]:
    """JSON form of a step, with the right-hand sides."""
    terms, known = one.terms, one.terms.known
    numbers = {key: value for key, value in asdict(terms).items() if key != "known"}
    return {"student": one.student, "nfe": one.nfe, "own": one.own} | {
        key: float(f"{value:.5g}") if isinstance(value, float) else value
        for key, value in {
            **numbers,
            "kept": terms.kept,
            "log10_lambda": finite(log10_merging(known.diameter, terms.scale)),
            "log10_lambda_printed": log10_merging(known.diameter, printed_scale(terms.raised, terms.end)),
            "first_term": gradient_bound(known, terms.before, terms.scale),
            "log10_second_term": terms.log10_second_term,
            "constants": {key: float(f"{value:.4g}") for key, value in asdict(known).items()},
        }.items()
    }


def bounds_page(steps: Sequence[MeasuredStep], ends: Table) -> str:
    """The HTML text: the ``ends``, and a table of steps a student."""
    sections = [PageSection("W1 to the data at the end", table=ends)]
    for name in dict.fromkeys(one.student for one in steps):
        rows = [row(*cells(one)) for one in steps if one.student == name]
        sections.append(PageSection(f"Trained by {name}: steps", table=Table(COLUMNS, rows), note=NOTE))
    return page("The error bounds, step by step", LEAD, sections)


def cells(one: MeasuredStep) -> list[str]:
    """Texts of a row, in the order of ``COLUMNS``."""
    terms = one.terms
    share = finite(log10_merging(terms.known.diameter, terms.scale))
    return [
        f"{one.nfe}, {terms.step + 1}, {terms.start:.3g}",
        f"{terms.gamma:.2g}" + "*" * one.own,
        f"{terms.before:.4f}",
        f"{terms.after:.4f}",
        f"{terms.kept:.4f}",
        "–" if share is None else f"{share:.0f}",
        *(f"{value:.4f}" for value in (terms.gradient, terms.discretisation, terms.total)),
    ]


def finite(value: float) -> float | None:
    """``value``, or None where it is infinite, which JSON does not know."""
    return value if math.isfinite(value) else None
