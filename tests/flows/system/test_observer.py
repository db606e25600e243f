from __future__ import annotations

import io

from flows.system.progress import Bars, PlainLines, Reporter, Step, reporter, reporting_to


def test_plain_lines_say_little() -> None:
    stream = io.StringIO()
    plain = PlainLines(stream)
    plain.quiet_seconds = 0.0
    plain.planned(3, 1)
    plain.started("distill@custom-5")
    for done in range(101):
        plain.advanced("distill@custom-5", Step(done, 100, "iterations"))
    plain.finished("distill@custom-5", "ran", 2.04)
    assert stream.getvalue().splitlines() == [
        "1 of 3 stages are unchanged",
        "distill@custom-5: started",
        "distill@custom-5: 25 % (25/100 iterations)",
        "distill@custom-5: 50 % (50/100 iterations)",
        "distill@custom-5: 75 % (75/100 iterations)",
        "distill@custom-5: ran (2.0 s)",
    ]


def test_short_stages_report_no_quarters() -> None:
    stream = io.StringIO()
    plain = PlainLines(stream)
    plain.started("fetch")
    plain.advanced("fetch", Step(1, 2, "files"))
    plain.finished("fetch", "ran", 0.1)
    assert stream.getvalue() == "fetch: started\nfetch: ran (0.1 s)\n"


def test_bars_end_as_lines() -> None:
    stream = io.StringIO()
    with Bars(stream) as bars:
        bars.planned(2, 0)
        bars.started("teacher@custom-3")
        bars.advanced("teacher@custom-3", Step(1, 4, "trajectories"))
        bars.finished("teacher@custom-3", "ran", 1.0)
        bars.started("distill@custom-3")
        bars.finished("distill@custom-3", "failed", 1.0)
    text = stream.getvalue()
    assert "teacher@custom-3: ran in 1.0 s" in text
    assert "distill@custom-3: failed in 1.0 s" in text
    assert "2/2" in text


def test_somebody_listens_only_inside_the_block() -> None:
    plain = PlainLines(io.StringIO())
    with reporting_to(plain):
        assert reporter() is plain
    assert type(reporter()) is Reporter


def test_several_sites_are_told_apart_and_counted_together() -> None:
    stream = io.StringIO()
    PlainLines(stream).planned(3, 1, where="lr=0.1")
    assert stream.getvalue() == "lr=0.1: 1 of 3 stages are unchanged\n"
    with Bars(io.StringIO()) as bars:
        bars.planned(3, 1, where="lr=0.1")
        bars.planned(4, 2, where="lr=0.2")
        (task,) = bars._progress.tasks
        assert (task.completed, task.total) == (3, 7)
