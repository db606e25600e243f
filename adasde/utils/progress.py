"""Progress of a long stage: a bar on a terminal, a few plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

VARIABLE = "ADASDE_PROGRESS"
"""``json``: lines ``@progress {...}`` on stdout; ``off``: nothing; anything else: a bar or plain lines."""


class Advance(Protocol):
    """``advance(n, note)``: n more units are done; ``note`` is shown beside the bar."""

    def __call__(self, units: int = 1, /, note: str = "") -> None:
        """Report progress."""


@contextmanager
def track(total: int, description: str, unit: str = "", *, done: int = 0) -> Iterator[Advance]:
    """Show the progress of ``total`` units of work; yields the function to call after each.

    A ``total`` of 0 is unknown; ``done`` units were there before and count in no rate. On a terminal there is
    a bar on stderr; otherwise a line on stderr after every tenth, with the rate for the units ``bytes`` and
    ``images``. With ADASDE_PROGRESS=json: ``@progress {"stage", "done", "total", "unit"}`` on stdout at the
    start, then at most twice a second, and at the end.
    """
    mode = os.environ.get(VARIABLE, "")
    if mode == "off":
        yield lambda units=1, /, note="": None
    elif mode == "json":
        yield _JsonLines(total, description, unit, done)
    elif not sys.stderr.isatty():
        yield _PlainLines(total, description, unit, done)
    else:
        from tqdm import tqdm

        in_bytes = unit == "bytes"
        with tqdm(
            total=total or None,
            initial=done,
            desc=description,
            unit="B" if in_bytes else f" {unit}",
            unit_scale=in_bytes,
            file=sys.stderr,
            dynamic_ncols=True,
        ) as bar:

            def advance(units: int = 1, /, note: str = "") -> None:
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update(units)

            yield advance


class _JsonLines:
    interval = 0.5

    def __init__(self, total: int, stage: str, unit: str, done: int) -> None:
        self.message: dict[str, Any] = {"stage": stage, "done": done, "total": total, "unit": unit}
        self._write()

    def __call__(self, units: int = 1, /, note: str = "") -> None:
        self.message["done"] += units
        ended = 0 < self.message["total"] <= self.message["done"]
        if ended or time.monotonic() >= self.due:
            self._write()

    def _write(self) -> None:
        print("@progress " + json.dumps(self.message), flush=True)
        self.due = time.monotonic() + self.interval


class _PlainLines:
    def __init__(self, total: int, description: str, unit: str, done: int) -> None:
        self.total, self.description, self.unit = total, description, unit
        self.before = self.done = done
        self.started = time.monotonic()

    def __call__(self, units: int = 1, /, note: str = "") -> None:
        tenths = 10 * self.done // max(1, self.total)
        self.done += units
        if self.total and 10 * self.done // self.total > tenths:
            spent, made = time.monotonic() - self.started, self.done - self.before
            left = spent * (self.total - self.done) / max(1, made)
            rest = f", about {left:.0f} s left" if self.done < self.total else ""
            line = f"{self.description}: {self.done}/{self.total} {self.unit} ({spent:.0f} s{rest})"
            notes = (self._rate(made / max(spent, 1e-3)), note)
            print(", ".join([line, *filter(None, notes)]), file=sys.stderr, flush=True)

    def _rate(self, rate: float) -> str:
        """Text of ``rate`` units a second; empty for most units."""
        if self.unit == "bytes":
            return f"{rate / 1e6:.1f} MB/s"
        digits = f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
        return f"{digits} images/s" if self.unit == "images" else ""
