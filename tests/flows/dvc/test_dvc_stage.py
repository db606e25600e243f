from __future__ import annotations

import pytest

from flows.dvc.stage import StageError, parse_progress
from flows.system.progress import Step


def test_progress_lines_are_understood() -> None:
    line = '@progress {"stage": "distill@custom-5", "done": 30, "total": 120, "unit": "iterations"}'
    step = parse_progress(line)
    assert step == Step(30, 120, "iterations")
    assert step.percent == 25.0


@pytest.mark.parametrize(
    "line", ["Running stage 'fetch':", "@progress {", '@progress {"done": 1}', "@progress 3", ""]
)
def test_other_lines_are_output(line: str) -> None:
    assert parse_progress(line) is None


def test_a_total_of_nothing_is_no_division_by_zero() -> None:
    assert Step(0, 0, "").percent == 0.0
    assert Step(5, 4, "").percent == 100.0


def test_the_error_has_stage_reason_and_remedy() -> None:
    error = StageError.of("sample@custom-3", ["> adasde sample", "error: the disk is full"])
    assert str(error).startswith(
        "stage sample@custom-3 failed. Its last lines:\n  > adasde sample\n  error: the disk is full"
    )
    assert "start the same command again" in str(error)
