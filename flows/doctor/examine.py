"""All checks of ``adasde doctor``, one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from adasde.errors import AdaSDEError
from flows.doctor.findings import CheckResult, tried


def examine(start: Path) -> Iterator[CheckResult]:
    """Results of all checks, in the environment of the other commands; never raises."""
    from flows.doctor import machine, project, servers
    from flows.system import environment

    yield from chain.from_iterable(tried(name, check) for name, check in machine.CHECKS.items())
    try:
        folder = environment.find_project(start)
    except AdaSDEError as error:
        yield CheckResult("project", "failed", str(error))
        return
    os.chdir(folder)
    os.environ.update(environment.settings(folder, os.environ))
    for name, check in (project.CHECKS | servers.CHECKS).items():
        yield from tried(name, check, folder)
