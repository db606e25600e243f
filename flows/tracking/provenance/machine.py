"""Facts of this machine and its packages, and how they differ from those of a run."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)
"""A line of requirements.lock."""


def facts(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Facts that the bytes of a result can depend on, by name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "os": platform.platform(),
        "cpu": _cpu(),
        "cores": str(cores),
        "python": platform.python_version(),
        "torch": installed("torch") or "none",
        "threads": environ.get("OMP_NUM_THREADS", "as many as cores"),
    }


def _cpu(described: Path = Path("/proc/cpuinfo")) -> str:
    """The model of the processor."""
    try:
        text = described.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def other_facts(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Facts that differ, as name -> (then, now); unknown values are ignored."""
    return {name: (value, now[name]) for name, value in before.items() if name in now and now[name] != value}


def installed(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def other_packages(lock: str) -> dict[str, tuple[str, str | None]]:
    """Name -> (version in the text of a requirements.lock, installed one) of the packages that differ.

    A local part (``2.13.0+cpu``) counts only where the lock has one too.
    """
    found = {name: (wanted, installed(name)) for name, wanted in PINNED.findall(lock)}
    return {name: pair for name, pair in found.items() if not _same(*pair)}


def _same(wanted: str, there: str | None) -> bool:
    return there is not None and wanted in (there, there.partition("+")[0])


def summary(packages: Mapping[str, tuple[str, str | None]], most: int = 10) -> str:
    """Text of ``other_packages``: the first ``most``, and how many more there are."""
    words = [f"{name} {there or 'missing'} instead of {wanted}" for name, (wanted, there) in packages.items()]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
