"""The machine: Python, the packages, torch and its threads."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from flows.doctor.findings import Finding

EXTRA = "pipeline"
INSTALL = f"pip install 'adasde[{EXTRA}]' (in this project: make install)"


def python() -> Iterator[Finding]:
    """The interpreter."""
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")


def packages() -> Iterator[Finding]:
    """Whether what is installed is what the package asks for: wrong versions fail late, some silently."""
    wrong = list(mismatches(requires("adasde") or []))
    if wrong:
        yield Finding("packages", "failed", "; ".join(wrong), INSTALL)
        return
    shown = ", ".join(f"{name} {version(name)}" for name in ("prefect", "mlflow", "dvc"))
    yield Finding("packages", "ok", f"{shown}; all in the ranges that were tried together")


def mismatches(requirements: list[str]) -> Iterator[str]:
    """What is missing or has another version than ``requirements`` say, in words."""
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


def torch() -> Iterator[Finding]:
    """Whether torch loads, and what a stage may compute with."""
    import torch as library

    from flows.system.environment import parallel_stages

    threads = os.environ.get("OMP_NUM_THREADS") or "1"
    gpus = library.cuda.device_count() if library.cuda.is_available() else 0
    where = f"{gpus} GPU" if gpus else "no GPU"
    stages = parallel_stages({"OMP_NUM_THREADS": threads})
    text = f"{library.__version__}, {where}; {stages} stages at once, threads in each: {threads}"
    yield Finding("torch", "ok", text)


CHECKS = {"python": python, "packages": packages, "torch": torch}
