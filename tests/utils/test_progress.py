"""The three voices of progress: a bar, plain lines, JSON lines."""

from __future__ import annotations

import io
import json
import sys

import pytest

from adasde.utils.progress import VARIABLE, track


def test_plain_lines_at_most_every_tenth(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with track(1000, "teacher@custom-5", "trajectories") as advance:
        for _ in range(1000):
            advance()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 10
    assert lines[0].startswith("teacher@custom-5: 100/1000 trajectories (")
    assert lines[-1].startswith("teacher@custom-5: 1000/1000 trajectories (")


def test_json_lines_start_at_zero_and_end_at_the_total(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "json")
    with track(50, "distill@custom-3", "iterations") as advance:
        for _ in range(50):
            advance(note="loss 1")
    out, err = capsys.readouterr()
    assert err == ""
    assert all(line.startswith("@progress ") for line in out.splitlines())
    messages = [json.loads(line.removeprefix("@progress ")) for line in out.splitlines()]
    assert messages[0] == {"stage": "distill@custom-3", "done": 0, "total": 50, "unit": "iterations"}
    assert messages[-1]["done"] == 50
    assert len(messages) <= 4


def test_off_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    with track(5, "x", "y") as advance:
        advance(5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    with track(4, "sample@custom-3", "images") as advance:
        advance(2, note="busy")
        advance(2)
    assert "sample@custom-3: 100%" in terminal.getvalue()


def test_reused_units_count(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with track(10, "teacher@custom-3", "trajectories") as advance:
        advance(7)
        advance(3)
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        "teacher@custom-3: 7/10 trajectories",
        "teacher@custom-3: 10/10 trajectories",
    ]


def test_images_have_a_rate_of_what_was_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of what was there before: five images in two seconds."""
    now = iter([100.0, 102.0])
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("adasde.utils.progress.time.monotonic", lambda: next(now))
    with track(20, "sample", "images", done=10) as advance:
        advance(5)
    assert capsys.readouterr().err == "sample: 15/20 images (2 s, about 2 s left), 2.5 images/s\n"
