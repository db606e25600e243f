"""Waiting for what other processes do, on machines that may be busy; which of them are left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], seconds: float = 600, every: float = 0.5) -> T:
    """The first true answer of ``probe``; its last answer fails the test when time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {answer!r}"
        time.sleep(every)
    return answer


def processes_in(folder: Path) -> list[Path]:
    """The processes that work in ``folder``, as their links in /proc."""
    return [link for link in Path("/proc").glob("[0-9]*/cwd") if _leads_to(link, folder)]


def _leads_to(link: Path, folder: Path) -> bool:
    try:
        return link.resolve() == folder
    except OSError:
        return False
