"""Progress reporting: silent, plain lines, or progress bars."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Literal

Outcome = Literal["ran", "unchanged", "failed", "interrupted"]


@dataclass(frozen=True)
class Step:
    """One ``@progress`` line of a stage."""

    done: int
    total: int
    unit: str

    @property
    def percent(self) -> float:
        """0 to 100."""
        return min(100.0, 100.0 * self.done / max(1, self.total))


class Reporter:
    """The silent reporter; subclasses override what they show. Called from several threads at once."""

    def planned(self, stages: int, unchanged: int, *, where: str = "") -> None:
        """Announce the stages of ``where`` and how many of them are unchanged."""

    def note(self, line: str) -> None:
        """Show one line."""

    def started(self, stage: str) -> None:
        """Show that a stage starts."""

    def advanced(self, stage: str, step: Step) -> None:
        """Show the progress of a stage."""

    def finished(self, stage: str, outcome: Outcome, seconds: float) -> None:
        """Show how a started stage ended."""


class PlainLines(Reporter):
    """A line when a stage starts and ends, and at every further quarter of a stage longer than 10 s."""

    quiet_seconds = 10.0

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._next: dict[str, float] = {}
        self._since: dict[str, float] = {}

    def planned(self, stages: int, unchanged: int, *, where: str = "") -> None:
        """One line for all that is unchanged."""
        self._say(f"{where and f'{where}: '}{unchanged} of {stages} stages are unchanged")

    def note(self, line: str) -> None:
        """That line."""
        self._say(line)

    def started(self, stage: str) -> None:
        """One line."""
        self._since[stage], self._next[stage] = time.monotonic(), 25.0
        self._say(f"{stage}: started")

    def advanced(self, stage: str, step: Step) -> None:
        """A line where a quarter has been passed and the stage is a long one."""
        slow = time.monotonic() - self._since[stage] > self.quiet_seconds
        if step.percent >= self._next[stage] and step.percent < 100:
            self._next[stage] = 25.0 * (step.percent // 25 + 1)
            if slow:
                self._say(f"{stage}: {step.percent:.0f} % ({step.done}/{step.total} {step.unit})")

    def finished(self, stage: str, outcome: Outcome, seconds: float) -> None:
        """One line."""
        self._say(f"{stage}: {outcome} ({seconds:.1f} s)")

    def _say(self, line: str) -> None:
        self._stream.write(f"{line}\n")  # in one piece: other threads write too
        self._stream.flush()


class Bars(Reporter):
    """A bar for every running stage and one for all, drawn by rich; a line above them for each that ended."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream, highlight=False),
        )
        self._lock = threading.Lock()
        self._stages = 0
        self._bars = {"": self._progress.add_task("[bold]all stages", total=None, unit="stages")}

    def __enter__(self) -> Bars:
        """Draw until the block ends."""
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def planned(self, stages: int, unchanged: int, *, where: str = "") -> None:
        """The bar for all grows."""
        with self._lock:
            self._stages += stages
            self._progress.update(self._bars[""], total=self._stages)
        self._progress.advance(self._bars[""], unchanged)

    def note(self, line: str) -> None:
        """That line, above the bars."""
        self._progress.console.print(line, markup=False)

    def started(self, stage: str) -> None:
        """A bar of its own."""
        self._bars[stage] = self._progress.add_task(stage, total=None, unit="")

    def advanced(self, stage: str, step: Step) -> None:
        """Move the stage's bar."""
        self._progress.update(self._bars[stage], completed=step.done, total=step.total, unit=step.unit)

    def finished(self, stage: str, outcome: Outcome, seconds: float) -> None:
        """Replace the stage's bar by a line."""
        self._progress.remove_task(self._bars.pop(stage))
        colour = "green" if outcome in ("ran", "unchanged") else "red"
        self._progress.console.print(f"{stage}: [{colour}]{outcome}[/] in {seconds:.1f} s")
        self._progress.advance(self._bars[""])


_current = Reporter()


def reporter() -> Reporter:
    """The reporter of this process."""
    return _current


def tell(new: Reporter) -> None:
    """Make ``new`` the reporter of this process."""
    global _current
    _current = new


@contextmanager
def reporting_to(new: Reporter) -> Iterator[None]:
    """Report to ``new`` inside the block."""
    global _current
    old, _current = _current, new
    try:
        yield
    finally:
        _current = old
