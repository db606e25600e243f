"""Progress of a long stage: a bar on a terminal, few plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

VARIABLE = "ADASDE_PROGRESS"
"""``json``: lines ``@progress {...}`` on stdout; ``off``: nothing; anything else: bar or plain lines."""


class Advance(Protocol):
    """``advance(n, note)``: n more units are done; ``note`` is shown beside the bar."""

    def __call__(self, units: int = 1, /, note: str = "") -> None:
        """Take the news."""


@contextmanager
def track(total: int, description: str, unit: str = "", *, done: int = 0) -> Iterator[Advance]:
    """Show the progress of ``total`` units of work named ``description``; yields what to call.

    A ``total`` of 0 is not known; ``done`` units were there before, and count in no rate. A bar on stderr
    where that is a terminal; otherwise one line on stderr when a further tenth is done, for the units
    ``bytes`` and ``images`` with the rate. With ADASDE_PROGRESS=json: ``@progress {"stage", "done", "total",
    "unit"}`` on stdout, at the start and then at most twice a second, and when all is done.
    """
    mode = os.environ.get(VARIABLE, "")
    if mode == "json":
        yield _JsonLines(total, description, unit, sys.stdout, done).advance
    elif mode == "off":
        yield _silent
    elif sys.stderr.isatty():
        from tqdm import tqdm

        of_bytes = unit == "bytes"
        with tqdm(
            total=total or None,
            initial=done,
            desc=description,
            unit="B" if of_bytes else f" {unit}",
            unit_scale=of_bytes,
            file=sys.stderr,
            dynamic_ncols=True,
        ) as bar:

            def advance(units: int = 1, /, note: str = "") -> None:
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update(units)

            yield advance
    else:
        yield _PlainLines(total, description, unit, sys.stderr, done).advance


def _silent(units: int = 1, /, note: str = "") -> None:
    """Take the news and say nothing."""


class _JsonLines:
    interval = 0.5

    def __init__(self, total: int, stage: str, unit: str, stream: TextIO, done: int) -> None:
        self.total, self.stage, self.unit, self.stream = total, stage, unit, stream
        self.done = done
        self.write()

    def advance(self, units: int = 1, /, note: str = "") -> None:
        self.done += units
        if (self.total and self.done >= self.total) or time.monotonic() >= self.due:
            self.write()

    def write(self) -> None:
        message = {"stage": self.stage, "done": self.done, "total": self.total, "unit": self.unit}
        print("@progress " + json.dumps(message), file=self.stream, flush=True)
        self.due = time.monotonic() + self.interval


class _PlainLines:
    def __init__(self, total: int, description: str, unit: str, stream: TextIO, done: int) -> None:
        self.total, self.description, self.unit, self.stream = total, description, unit, stream
        self.before = self.done = done
        self.started = time.monotonic()

    def advance(self, units: int = 1, /, note: str = "") -> None:
        tenths = 10 * self.done // max(1, self.total)
        self.done += units
        if self.total and 10 * self.done // self.total > tenths:
            spent, made = time.monotonic() - self.started, self.done - self.before
            notes = [text for text in (self._rate(made / max(spent, 1e-3)), note) if text]
            left = spent * (self.total - self.done) / max(1, made)
            rest = f", about {left:.0f} s left" if self.done < self.total else ""
            line = f"{self.description}: {self.done}/{self.total} {self.unit} ({spent:.0f} s{rest})"
            print(", ".join([line, *notes]), file=self.stream, flush=True)

    def _rate(self, rate: float) -> str:
        """``rate`` units a second, where people want to know it."""
        if self.unit == "bytes":
            return f"{rate / 1e6:.1f} MB/s"
        digits = f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
        return f"{digits} images/s" if self.unit == "images" else ""
