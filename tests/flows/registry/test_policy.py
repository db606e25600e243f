"""The decision as a table: who wins by the policy, and in which words."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from adasde.config.sections import PromotionParams
from adasde.errors import DataError
from flows.registry.policy import Candidate, Decision, MetricValue, decide, read_row

POLICY = PromotionParams()
OTHERS = {"kid": MetricValue(0.01), "precision": MetricValue(0.8), "recall": MetricValue(0.8)}
NAN = float("nan")


def fid(mean: float, spread: float | None = 0.0) -> dict[str, MetricValue]:
    return {"fid": MetricValue(mean, spread)}


def candidate(**changes: Any) -> Candidate:
    """A candidate at FID 0.9; ``metrics`` replaces single ones."""
    metrics = fid(0.9) | OTHERS | changes.pop("metrics", {})
    return replace(Candidate("2", "sha-2", "w", "protocol", metrics), **changes)


def champion(**changes: Any) -> Candidate:
    """A champion at FID 1."""
    metrics = fid(1.0) | OTHERS | changes.pop("metrics", {})
    return replace(Candidate("1", "sha-1", "w", "protocol", metrics), **changes)


def policy(**changes: Any) -> PromotionParams:
    return PromotionParams(**changes)


def without(name: str) -> dict[str, MetricValue]:
    return {key: value for key, value in (fid(0.9) | OTHERS).items() if key != name}


TABLE: dict[str, tuple[Candidate, Candidate | None, PromotionParams, bool, str]] = {
    "no champion": (candidate(), None, POLICY, True, "no champion yet, and fid 0.9"),
    "no champion, no number": (candidate(metrics=fid(NAN)), None, POLICY, False, "its fid is not finite"),
    "no champion, infinite guard": (
        candidate(metrics={"recall": MetricValue(math.inf)}),
        None,
        POLICY,
        False,
        "its recall is not finite",
    ),
    "not measured": (
        replace(candidate(), metrics=without("fid")),
        None,
        POLICY,
        False,
        "fid was not measured",
    ),
    "guard not measured": (
        replace(candidate(), metrics=without("recall")),
        champion(),
        POLICY,
        False,
        "its recall was not measured",
    ),
    "the same file": (candidate(sha256="sha-1"), champion(), POLICY, False, "nothing to do"),
    "the same file, broken numbers": (
        candidate(sha256="sha-1", metrics=fid(NAN)),
        champion(),
        POLICY,
        False,
        "nothing to do",
    ),
    "better": (candidate(), champion(), POLICY, True, "better by 0.1, and 0.02 is asked for"),
    "worse": (
        candidate(metrics=fid(1.1)),
        champion(),
        POLICY,
        False,
        "fid 1.1 ± 0 against 1 ± 0: worse by 0.1",
    ),
    "level": (candidate(metrics=fid(1.0)), champion(), policy(margin=0.0), False, "not better"),
    "inside the margin": (candidate(metrics=fid(0.99)), champion(), POLICY, False, "but 0.02 is asked for"),
    "on the margin": (
        candidate(metrics=fid(0.75)),
        champion(),
        policy(margin=0.25),
        True,
        "and 0.25 is asked for",
    ),
    "inside the noise": (
        candidate(metrics=fid(0.9, 0.08)),
        champion(metrics=fid(1.0, 0.08)),
        POLICY,
        False,
        "better by 0.1, but 0.113 is asked for (margin 0.02, spread 0.113)",
    ),
    "above the noise": (
        candidate(metrics=fid(0.9, 0.06)),
        champion(metrics=fid(1.0, 0.06)),
        POLICY,
        True,
        "0.0849",
    ),
    "twice the noise": (
        candidate(metrics=fid(0.9, 0.06)),
        champion(metrics=fid(1.0, 0.06)),
        policy(spread=2.0),
        False,
        "but 0.17 is asked for",
    ),
    "noise does not count": (
        candidate(metrics=fid(0.9, 5.0)),
        champion(metrics=fid(1.0, None)),
        policy(spread=0.0),
        True,
        "and 0.02 is asked for",
    ),
    "noise not known": (candidate(metrics=fid(0.9, None)), champion(), POLICY, False, "is not known"),
    "a guard gets worse": (
        candidate(metrics={"recall": MetricValue(0.7)}),
        champion(),
        POLICY,
        False,
        "recall 0.7 against 0.8: worse by 0.1, and 0.04 is tolerated",
    ),
    "a guard gets a little worse": (
        candidate(metrics={"recall": MetricValue(0.77)}),
        champion(),
        POLICY,
        True,
        "worse by 0.03, and 0.04 is tolerated",
    ),
    "a guard gets better": (
        candidate(metrics={"precision": MetricValue(0.99)}),
        champion(),
        POLICY,
        True,
        "precision 0.99 against 0.8: not worse",
    ),
    "a lower-is-better guard": (
        candidate(metrics={"kid": MetricValue(0.02)}),
        champion(),
        POLICY,
        False,
        "kid 0.02 against 0.01: worse by 0.01, and 0.005 is tolerated",
    ),
    "not guarded": (
        candidate(metrics={"recall": MetricValue(0.1)}),
        champion(),
        policy(tolerance={"kid": 0.5}),
        True,
        "kid 0.01 against 0.01: not worse",
    ),
    "the guard is the metric itself": (
        candidate(metrics=fid(0.99)),
        champion(),
        policy(margin=0.0, tolerance={"fid": 0.0}),
        True,
        "better by 0.01",
    ),
    "higher is better": (
        candidate(metrics={"recall": MetricValue(0.9, 0.01)}),
        champion(metrics={"recall": MetricValue(0.8, 0.01)}),
        policy(metric="recall"),
        True,
        "recall 0.9 ± 0.01 against 0.8 ± 0.01: better by 0.1",
    ),
    "higher is better, and it is lower": (
        candidate(metrics={"recall": MetricValue(0.7, 0.01)}),
        champion(metrics={"recall": MetricValue(0.8, 0.01)}),
        policy(metric="recall"),
        False,
        "worse by 0.1",
    ),
    "another protocol": (candidate(protocol="other"), champion(), POLICY, False, "another protocol (other…)"),
    "other weights": (candidate(weights="v"), champion(), POLICY, False, "for other weights"),
    "weights not known": (candidate(weights=""), champion(), POLICY, True, "better by 0.1"),
    "rolled back before": (candidate(rejected=True), champion(), POLICY, False, "was rolled back; --force"),
    "the champion's number is broken": (
        candidate(),
        champion(metrics=fid(NAN)),
        POLICY,
        True,
        "the champion has no finite one",
    ),
    "the champion was not measured so": (
        candidate(),
        champion(metrics={"recall": MetricValue(NAN)}),
        POLICY,
        True,
        "recall 0.8, and the champion has no finite one",
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
    assert decide(candidate(), champion(), POLICY) == Decision(
        True,
        (
            "fid 0.9 ± 0 against 1 ± 0: better by 0.1, and 0.02 is asked for (margin 0.02, spread 0)",
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


def test_one_seed_range_has_no_spread() -> None:
    assert read_row({"fid": {"mean": 1.0, "spread": 0.0, "values": [1.0]}})["fid"].spread is None


@pytest.mark.parametrize("row", [None, 5, {"fid": "low"}, {"fid": {"mean": 1.0}}, {"kid": None}])
def test_what_is_no_row(row: object) -> None:
    with pytest.raises(DataError, match="no row of metrics"):
        print(read_row(row))
