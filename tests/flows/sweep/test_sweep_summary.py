"""Which trial is named best, and how the table, the picture and the error tell it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from flows.sweep.plot import save_picture
from flows.sweep.summary import Score, SweepError, SweepSummary


def score(trial: str, fid: float, *, nfe: int = 5, protocol: str = "a", **settings: Any) -> Score:
    metrics = {"fid": fid, "fid_spread": 0.01, "precision": fid}
    return Score(trial, settings or {"lr": fid}, nfe, f"run of {trial}", metrics, protocol)


def summary(*scores: Score, metric: str = "fid") -> SweepSummary:
    return SweepSummary("0123", "lr", "digits", metric, "parent", len(scores) + 1, scores=list(scores))


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("fid", [0.3, 0.1, 0.2], "t1"),
        ("precision", [0.3, 0.1, 0.2], "t0"),
        ("fid", [0.3, math.nan, 0.2], "t2"),
        ("fid", [math.nan, math.inf], None),
        ("fid", [0.2, 0.2], "t0"),
    ],
)
def test_the_best_is_what_the_policy_likes(metric: str, values: list[float], best: str | None) -> None:
    scores = [score(f"t{i}", value) for i, value in enumerate(values)]
    found = summary(*scores, metric=metric).best(5)
    assert (found and found.trial) == best


def test_scores_of_different_protocols_have_no_best() -> None:
    one = summary(score("a", 0.1), score("b", 0.2, protocol="b"), score("c", 0.3, nfe=7))
    assert one.winners().keys() == {7}
    assert "5 NFE: no best, because the trials used different protocols" in list(one.lines())
    assert "**0.1" not in one.markdown()


def test_tables_are_best_first() -> None:
    one = summary(score("a", 0.3), score("b", 0.1), score("c", 0.2, nfe=7))
    one.versions[5] = "4"
    one.failures["d"] = "why it failed"
    text = one.markdown()
    assert text.index("| b | **0.100 ± 0.010** |") < text.index("| a | 0.300 ± 0.010 |")
    assert "adasde promote digits --nfe 5 --candidate 4" in text
    assert "- failed: d" in text
    assert "3 of 4 trials done, 1 failed" in text
    assert len(one.table().rows) == 4
    assert one.to_json()["best"]["5"] == {"trial": "b", "run_id": "run of b", "version": "4"}
    message = str(SweepError(one))
    assert message.startswith("1 of 4 trials failed: d. The others are done and kept")
    assert message.endswith("d: why it failed")


@pytest.mark.parametrize(
    "scores",
    [
        [score("a", 0.1, lr=0.01, nfe=5), score("b", 0.2, lr=0.1, nfe=5), score("c", 0.2, lr=0.1, nfe=7)],
        [score("a", 0.1, solver="dpm2"), score("b", 0.2, solver="heun")],
        [score("a", 0.1, per_nfe={3: {"lr": 1}}), score("b", math.nan, per_nfe={})],
        [score("a", 0.1, x=[3, 5])],
        [score(f"t{i}{j}", i + j / 10, x=i, y=j) for i in range(3) for j in range(15)],
    ],
    ids=["two numbers", "words", "mappings", "one", "many lines"],
)
def test_pictures_of_all_kinds_of_settings(scores: list[Score], tmp_path: Path) -> None:
    save_picture(summary(*scores), tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
