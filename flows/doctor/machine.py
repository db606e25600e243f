"""Checks of the machine: Python, the packages, torch and its threads."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from flows.doctor.findings import CheckResult

EXTRA = "pipeline"
INSTALL = f"pip install 'adasde[{EXTRA}]' (in this project: make install)"


def python() -> Iterator[CheckResult]:
    """The interpreter."""
    yield CheckResult("python", "ok", f"{platform.python_version()}, {sys.executable}")


def packages() -> Iterator[CheckResult]:
    """Whether the installed versions are the required ones: wrong ones fail late, some silently."""
    wrong = list(mismatches(requires("adasde") or []))
    if wrong:
        yield CheckResult("packages", "failed", "; ".join(wrong), INSTALL)
        return
    shown = ", ".join(f"{name} {version(name)}" for name in ("prefect", "mlflow", "dvc"))
    yield CheckResult("packages", "ok", f"{shown}; all in the ranges that were tried together")


def mismatches(requirements: list[str]) -> Iterator[str]:
    """Packages of ``requirements`` that are missing or have another version, in words."""
    from packaging.requirements import Requirement

    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", EXTRA)):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            yield f"{wanted.name} is not installed"
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name} {found} is installed, {wanted.specifier} is needed"


def torch() -> Iterator[CheckResult]:
    """Whether torch loads, and the devices and threads that a stage may use."""
    import torch as library

    from flows.system.environment import parallel_stages

    threads = os.environ.get("OMP_NUM_THREADS") or "1"
    gpus = library.cuda.device_count() if library.cuda.is_available() else 0
    where = f"{gpus} GPU" if gpus else "no GPU"
    stages = parallel_stages({"OMP_NUM_THREADS": threads})
    text = f"{library.__version__}, {where}; {stages} stages at once, threads in each: {threads}"
    yield CheckResult("torch", "ok", text)


CHECKS = {"python": python, "packages": packages, "torch": torch}
