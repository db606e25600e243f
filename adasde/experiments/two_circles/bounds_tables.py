"""Summaries of the measured bounds as tables, from the document ``bounds.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from adasde.report.table import Table, TableRow, row

Record = dict[str, Any]
"""A step or an end, as ``bounds.json`` has it."""

STEP = "NFE, step, t"
W1S = ("gradient", "discretisation", "total")
HEADINGS = ("taken over", "added", "total")


def summaries(document: Record) -> list[Table]:
    """One table a student of its steps, then one of all ends."""
    steps, finals = document["steps"], document["finals"]
    students = dict.fromkeys(one["student"] for one in steps)
    noisy = [name for name in students if any(one["own"] and one["gamma"] > 1e-4 for one in of(steps, name))]
    tables = [
        learned_table(of(steps, name)) if name in noisy else noise_table(of(steps, name)) for name in students
    ]
    return [*tables, ends_table(finals)]


def of(records: Sequence[Record], student: str) -> list[Record]:
    """The records of one student."""
    return [one for one in records if one["student"] == student]


def by_step(steps: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """(Label of a step, its records by ascending gamma)."""
    for nfe, step in dict.fromkeys((one["nfe"], one["step"]) for one in steps):
        found = [one for one in steps if (one["nfe"], one["step"]) == (nfe, step)]
        label = f"{nfe}, {step + 1}, {found[0]['start']:.3g}"
        yield label, sorted(found, key=lambda one: float(one["gamma"]))


def noise_table(steps: Sequence[Record]) -> Table:
    """Steps of a student without noise of its own: what the other gammas leave, and what the largest does."""
    gammas = sorted({one["gamma"] for one in steps if not one["own"] and one["gamma"]})
    columns = [STEP, "TV before", *(f"left by {gamma:g}" for gamma in gammas)]
    columns += [f"{name}, γ = 0 → {gammas[-1]:g}" for name in HEADINGS]
    rows = []
    for label, found in by_step(steps):
        ode, most = found[0], found[-1]
        left = [f"{100 * one['kept']:.2f} %" for one in found if one["gamma"] in gammas]
        changes = [f"{ode[key]:.4f} → {most[key]:.4f}" for key in W1S]
        bounds = f"{ode['first_term']:.2f}, 10^{ode['log10_second_term']:.0f}"
        rows.append(row(label, f"{ode['before']:.4f}", *left, *changes, bounds))
    return Table([*columns, "the two bounds, γ = 0"], rows)


def learned_table(steps: Sequence[Record]) -> Table:
    """Steps of a student with its own gammas, against gamma = 0."""
    columns = [
        STEP,
        "learned γ",
        "log10 λ",
        "TV before → after",
        "left",
        *(f"{n}, γ = 0 → learned" for n in HEADINGS),
    ]
    rows = []
    for label, found in by_step(steps):
        ode, own = found[0], next(one for one in found if one["own"])
        changes = [f"{ode[key]:.3f} → {own[key]:.3f}" for key in W1S]
        share = "–" if own["log10_lambda"] is None else f"{own['log10_lambda']:.0f}"
        change = f"{own['before']:.3f} → {own['after']:.3f}"
        rows.append(row(label, f"{own['gamma']:.3f}", share, change, f"{100 * own['kept']:.0f} %", *changes))
    return Table(columns, rows)


def ends_table(finals: Sequence[Record]) -> Table:
    """W1 to the data over the evaluations, a row for every student and its or other gammas."""
    nfes = sorted({one["nfe"] for one in finals})
    rows: list[TableRow] = []
    for student in dict.fromkeys(one["student"] for one in finals):
        found = {(gammas_of(one), one["nfe"]): one["wasserstein"] for one in of(finals, student)}
        for label in dict.fromkeys(label for label, _ in found):
            cells = [found.get((label, nfe)) for nfe in nfes]
            texts = ["–" if cell is None else f"{cell:.4f}" for cell in cells]
            rows.append(row(student, label, *texts))
    return Table(["student trained by", "γ of the steps", *(f"NFE {nfe}" for nfe in nfes)], rows)


def gammas_of(final: Record) -> str:
    """The gammas of an end in words."""
    _, first, *_ = final["gammas"]
    if final["own"]:
        return "learned"
    return f"{first:g}" if final["gammas"][-1] == first else f"{first:g}, last step 0"
