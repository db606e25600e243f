"""Verdicts of the analysis, on made-up numbers."""

from __future__ import annotations

import pytest

from adasde.experiments.two_circles.distances import Estimate
from adasde.experiments.two_circles.verdicts import STATEMENTS, overall, trend, verdict, verdicts

DOWN, UP, OPEN = Estimate(-0.2, -0.3, -0.1), Estimate(0.2, 0.1, 0.3), Estimate(0.05, -0.1, 0.2)
TOTAL, DISCRETISATION, GRADIENT = STATEMENTS


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([UP, DOWN], "falls"), ([OPEN, DOWN], "falls"), ([UP, UP], "rises"), ([UP, OPEN], "unclear")],
)
def test_one_gamma_may_lower_an_error_but_all_must_raise_it(differences: list, expected: str) -> None:
    assert trend(dict(enumerate(differences, 1))) == expected


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "unclear"], "holds in part"),
        (["holds", "does not hold"], "holds in part"),
        (["does not hold", "unclear"], "does not hold"),
        (["unclear"], "unclear"),
        ([], "unclear"),
    ],
)
def test_all_numbers_of_steps_together(outcomes: list[str], expected: str) -> None:
    assert overall(outcomes) == expected


def test_the_statement_on_the_total_error_is_about_15_to_40_steps() -> None:
    cells = {10: {0.1: UP}, 15: {0.1: OPEN, 0.2: DOWN}, 40: {0.1: OPEN, 0.2: UP}, 60: {0.1: UP}}
    found = verdict(TOTAL, "plane", cells)
    assert found.outcome == "holds in part"
    assert found.summary == "holds in part (holds at N = 15; unclear at N = 40)"
    first, second = found.findings
    assert (first.gamma, first.difference) == (0.2, DOWN)
    assert (second.gamma, second.outcome) == (0.1, "unclear")
    assert str(first) == "N = 15: holds (γ = 0.2: -0.20000, -0.30000 to -0.10000)"


def test_a_range_that_was_not_run_stays_unclear() -> None:
    found = verdict(TOTAL, "plane", {5: {0.1: DOWN}})
    assert (found.outcome, found.findings) == ("unclear", ())
    assert "no number of steps" in found.summary


def test_the_ode_is_the_lowest_where_every_gamma_is_above_it() -> None:
    assert verdict(DISCRETISATION, "radius", {5: {0.1: UP, 0.2: UP}}).outcome == "holds"
    assert verdict(DISCRETISATION, "radius", {5: {0.1: UP, 0.2: DOWN}}).outcome == "does not hold"
    assert verdict(DISCRETISATION, "radius", {5: {0.1: UP, 0.2: OPEN}}).outcome == "unclear"


def test_every_statement_is_judged_in_every_measure() -> None:
    differences = {
        (measure, statement.kind): {20: {0.1: UP}}
        for measure in ("plane", "radius")
        for statement in STATEMENTS
    }
    outcomes = [(v.statement, v.measure, v.outcome) for v in verdicts(differences)]
    assert outcomes == [
        (statement.text, measure, "holds" if statement is DISCRETISATION else "does not hold")
        for statement in STATEMENTS
        for measure in ("plane", "radius")
    ]
    assert GRADIENT in STATEMENTS
