from __future__ import annotations

import pytest

from adasde.config.params import DistillParams
from flows.tracking.run_names import differences, short_names, solver_label


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "adasde"),
        ({"points": 2}, "adasde K=2"),
        ({"solver": "ipndm", "learn_grid": True}, "ipndm+grid"),
    ],
)
def test_students_have_names(settings: dict, label: str) -> None:
    assert solver_label(DistillParams(**settings)) == label


BEFORE = {"distill.lr": "0.05", "distill.batch": "128", "teacher.batch": "500", "seed": "0", "afs": "True"}


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({}, ""),
        ({"distill.lr": "0.1"}, "lr=0.1"),
        ({"distill.batch": "64", "teacher.batch": "250"}, "distill.batch=64 teacher.batch=250"),
        ({"distill.added": "1"}, ""),
        (dict.fromkeys(BEFORE, "other"), "lr=other distill.batch=other teacher.batch=other +2 more"),
    ],
)
def test_what_is_new_is_told_briefly(new: dict[str, str], told: str) -> None:
    assert differences(BEFORE | new, BEFORE) == told
    assert differences(BEFORE, {}) == "", "the first run has nothing to differ from"


def test_names_are_short_where_that_is_clear() -> None:
    assert short_names(["a.x", "b.x", "b.y"]) == {"a.x": "a.x", "b.x": "b.x", "b.y": "y"}
