"""Verdicts on the paper's statements: pure functions of the measured differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adasde.experiments.two_circles.distances import Estimate

HOLDS, PARTLY, FAILS, UNCLEAR = "holds", "holds in part", "does not hold", "unclear"
FALLS, RISES = "falls", "rises"

Cells = Mapping[int, Mapping[float, Estimate]]
"""steps -> gamma > 0 -> the error at gamma minus the error of the ODE on the same points."""


@dataclass(frozen=True)
class Statement:
    """A sentence about one kind of error, ``supported`` by differences that fall (or rise) with gamma.

    FALLS takes one gamma > 0, RISES every gamma > 0. ``steps``: the range that the sentence is about.
    """

    text: str
    kind: str
    supported: str
    steps: tuple[int, int] | None = None


STATEMENTS = (
    Statement("The total error falls with some γ > 0 for 15 to 40 steps.", "total", FALLS, (15, 40)),
    Statement("The discretisation error is the lowest for the ODE (γ = 0).", "discretisation", RISES),
    Statement("Noise heals the network's gradient error: it falls with some γ > 0.", "gradient", FALLS),
)


@dataclass(frozen=True)
class StepFinding:
    """One number of steps: the outcome, and the gamma whose interval reaches lowest at its upper end."""

    steps: int
    outcome: str
    gamma: float
    difference: Estimate

    def __str__(self) -> str:
        low, mean, high = (
            f"{v:+.5f}" for v in (self.difference.low, self.difference.mean, self.difference.high)
        )
        return f"N = {self.steps}: {self.outcome} (γ = {self.gamma:g}: {mean}, {low} to {high})"


@dataclass(frozen=True)
class Verdict:
    """The outcome for a statement in one measure."""

    statement: str
    measure: str
    outcome: str
    findings: tuple[StepFinding, ...]

    @property
    def summary(self) -> str:
        """The outcome in words, with the numbers of steps behind it."""
        if not self.findings:
            return f"{self.outcome}: no number of steps in its range was run"
        by: dict[str, list[str]] = {}
        for finding in self.findings:
            by.setdefault(finding.outcome, []).append(str(finding.steps))
        return f"{self.outcome} (" + "; ".join(f"{k} at N = {', '.join(v)}" for k, v in by.items()) + ")"


def verdicts(differences: Mapping[tuple[str, str], Cells]) -> list[Verdict]:
    """A verdict on every statement in every measure; ``differences`` by (measure, kind), see ``trend``."""
    measures = dict.fromkeys(measure for measure, _ in differences)
    return [
        verdict(statement, measure, differences[measure, statement.kind])
        for statement in STATEMENTS
        for measure in measures
    ]


def verdict(statement: Statement, measure: str, cells: Cells) -> Verdict:
    """The verdict on one statement: ``trend`` decides at one number of steps, ``overall`` for all of them."""
    low, high = statement.steps or (1, max(cells, default=1))
    findings = []
    for steps, by_gamma in cells.items():
        if low <= steps <= high:
            seen = trend(by_gamma)
            outcome = UNCLEAR if seen == UNCLEAR else HOLDS if seen == statement.supported else FAILS
            gamma = min(by_gamma, key=lambda gamma: by_gamma[gamma].high)
            findings.append(StepFinding(steps, outcome, gamma, by_gamma[gamma]))
    return Verdict(statement.text, measure, overall([f.outcome for f in findings]), tuple(findings))


def trend(by_gamma: Mapping[float, Estimate]) -> str:
    """FALLS if some interval lies below 0, RISES if all lie above 0, else UNCLEAR.

    The intervals must hold simultaneously; otherwise one gamma out of many falls by chance.
    """
    if any(difference.high < 0 for difference in by_gamma.values()):
        return FALLS
    return RISES if all(difference.low > 0 for difference in by_gamma.values()) else UNCLEAR


def overall(outcomes: list[str]) -> str:
    """Outcome for all numbers of steps: a failure refutes the statement unless it holds elsewhere."""
    if HOLDS in outcomes:
        return HOLDS if set(outcomes) == {HOLDS} else PARTLY
    return FAILS if FAILS in outcomes else UNCLEAR
