"""The decision as a table: who wins by the policy, and in which words."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from adasde.config.metrics import METRIC_INFO
from adasde.config.sections import PromotionParams
from adasde.errors import DataError
from flows.registry.policy import Candidate, Decision, MetricValue, decide, read_row

NAN = float("nan")
NOTHING: MappingProxyType[str, Any] = MappingProxyType({})

Row = tuple[Candidate, Candidate | None, PromotionParams, bool, str]


def version(number: str, **changes: Any) -> Candidate:
    """A version at FID ``fid``; (mean, spread) or a mean replaces a metric, None removes it."""
    known = {"kid": 0.01, "precision": 0.8, "recall": 0.8}
    values = known | {name: changes.pop(name) for name in METRIC_INFO if name in changes}
    metrics = {
        name: MetricValue(*value) if isinstance(value, tuple) else MetricValue(value)
        for name, value in values.items()
        if value is not None
    }
    return replace(Candidate(number, f"sha-{number}", "w", "protocol", metrics), **changes)


def candidate(**changes: Any) -> Candidate:
    return version("2", **({"fid": (0.9, 0.0)} | changes))


def champion(**changes: Any) -> Candidate:
    return version("1", **({"fid": (1.0, 0.0)} | changes))


def row(promote: bool, words: str, *, theirs: Any = NOTHING, rules: Any = NOTHING, **mine: Any) -> Row:
    """A case: a candidate against a champion (``theirs`` None: there is none) under a policy."""
    other = None if theirs is None else champion(**theirs)
    return candidate(**mine), other, PromotionParams(**rules), promote, words


TABLE: dict[str, Row] = {
    "no champion": row(True, "no champion yet, and fid 0.9", theirs=None),
    "no champion, no number": row(False, "its fid is not finite", theirs=None, fid=(NAN, 0.0)),
    "no champion, infinite guard": row(False, "its recall is not finite", theirs=None, recall=math.inf),
    "not measured": row(False, "fid was not measured", theirs=None, fid=None),
    "guard not measured": row(False, "its recall was not measured", recall=None),
    "the same file": row(False, "nothing to do", sha256="sha-1"),
    "the same file, broken numbers": row(False, "nothing to do", sha256="sha-1", fid=(NAN, 0.0)),
    "better": row(True, "better by 0.1, and 0.02 is required"),
    "worse": row(False, "fid 1.1 ± 0 against 1 ± 0: worse by 0.1", fid=(1.1, 0.0)),
    "level": row(False, "not better", rules={"margin": 0.0}, fid=(1.0, 0.0)),
    "inside the margin": row(False, "but 0.02 is required", fid=(0.99, 0.0)),
    "on the margin": row(True, "and 0.25 is required", rules={"margin": 0.25}, fid=(0.75, 0.0)),
    "inside the noise": row(
        False,
        "better by 0.1, but 0.113 is required (margin 0.02, spread 0.113)",
        theirs={"fid": (1.0, 0.08)},
        fid=(0.9, 0.08),
    ),
    "above the noise": row(True, "0.0849", theirs={"fid": (1.0, 0.06)}, fid=(0.9, 0.06)),
    "twice the noise": row(
        False, "but 0.17 is required", theirs={"fid": (1.0, 0.06)}, rules={"spread": 2.0}, fid=(0.9, 0.06)
    ),
    "noise does not count": row(
        True, "and 0.02 is required", theirs={"fid": (1.0, None)}, rules={"spread": 0.0}, fid=(0.9, 5.0)
    ),
    "noise not known": row(False, "is not known", fid=(0.9, None)),
    "a guard is worse": row(False, "recall 0.7 against 0.8: worse by 0.1, and 0.04 is tolerated", recall=0.7),
    "a guard is a little worse": row(True, "worse by 0.03, and 0.04 is tolerated", recall=0.77),
    "a guard is better": row(True, "precision 0.99 against 0.8: not worse", precision=0.99),
    "a lower-is-better guard": row(
        False, "kid 0.02 against 0.01: worse by 0.01, and 0.005 is tolerated", kid=0.02
    ),
    "not guarded": row(
        True, "kid 0.01 against 0.01: not worse", rules={"tolerance": {"kid": 0.5}}, recall=0.1
    ),
    "the guard is the metric itself": row(
        True, "better by 0.01", rules={"margin": 0.0, "tolerance": {"fid": 0.0}}, fid=(0.99, 0.0)
    ),
    "higher is better": row(
        True,
        "recall 0.9 ± 0.01 against 0.8 ± 0.01: better by 0.1",
        theirs={"recall": (0.8, 0.01)},
        rules={"metric": "recall"},
        recall=(0.9, 0.01),
    ),
    "higher is better, and it is lower": row(
        False,
        "worse by 0.1",
        theirs={"recall": (0.8, 0.01)},
        rules={"metric": "recall"},
        recall=(0.7, 0.01),
    ),
    "another protocol": row(False, "another protocol (other…)", protocol="other"),
    "other weights": row(False, "for other weights", weights="v"),
    "weights not known": row(True, "better by 0.1", weights=""),
    "rolled back before": row(False, "was rolled back; --force", rejected=True),
    "the champion's number is broken": row(
        True, "the champion has no finite one", theirs={"fid": (NAN, 0.0)}
    ),
    "the champion was not measured so": row(
        True, "recall 0.8, and the champion has no finite one", theirs={"recall": NAN}
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_decision(case: str) -> None:
    one, other, rules, promote, words = TABLE[case]
    decision = decide(one, other, rules)
    assert decision.promote is promote, decision
    assert words in "; ".join(decision.reasons)
    assert decide(one, other, rules) == decision


def test_every_metric_that_is_looked_at_has_its_reason() -> None:
    assert decide(candidate(), champion(), PromotionParams()) == Decision(
        True,
        (
            "fid 0.9 ± 0 against 1 ± 0: better by 0.1, and 0.02 is required (margin 0.02, spread 0)",
            "kid 0.01 against 0.01: not worse",
            "precision 0.8 against 0.8: not worse",
            "recall 0.8 against 0.8: not worse",
        ),
    )


def test_rows_of_metrics_files() -> None:
    row = {"fid": {"mean": 1, "spread": 0.5, "values": [0.5, 1.5]}, "kid": 0.25, "recall": NAN, "nfe": 5}
    known = read_row(row)
    assert known["fid"] == MetricValue(1.0, 0.5, (0.5, 1.5))
    assert known["kid"] == MetricValue(0.25)
    assert not known["recall"].finite
    assert set(known) == {"fid", "kid", "recall"}


@pytest.mark.parametrize("spread", [None, 0.0])
def test_one_seed_range_has_no_spread(spread: float | None) -> None:
    assert read_row({"fid": {"mean": 1.0, "spread": spread, "values": [1.0]}})["fid"].spread is None


@pytest.mark.parametrize("row", [None, 5, {"fid": "low"}, {"fid": {"mean": 1.0}}, {"kid": None}])
def test_what_is_no_row(row: object) -> None:
    with pytest.raises(DataError, match="no row of metrics"):
        print(read_row(row))
