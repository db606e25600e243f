"""One stage as a child process: `dvc repro` on it alone, its output line by line, its progress, its end."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adasde.errors import AdaSDEError
from flows.system.progress import Outcome, Step, reporter
from flows.system.subprocesses import Child, Crew

PROGRESS = "@progress "
TAIL = 15

Log = Callable[[str], None]
Report = Callable[[Step], None]


class StageError(AdaSDEError):
    """A stage failed; its last lines are in the message."""

    @classmethod
    def of(cls, stage: str, tail: Iterable[str]) -> StageError:
        """The error of ``stage``, whose last lines of output are ``tail``."""
        lines = "\n".join(f"  {line}" for line in tail)
        return cls(
            f"stage {stage} failed. Its last lines:\n{lines}\n"
            "What other stages have finished is kept: repair the cause and start the same command again."
        )


class StageInterrupted(Exception):
    """A stage was stopped together with the run."""


@dataclass(frozen=True)
class Site:
    """Where stages run.

    Attributes:
        folder: a project, or the workspace of a trial; with dvc.yaml and params.yaml.
        crew: bounds how many compute side by side, and stops them together.
        env: the environment of their processes; that of this process unless given.
        label: prefix of stage names; empty for a single site.
    """

    folder: Path
    crew: Crew
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    label: str = ""

    def labelled(self, stage: str) -> str:
        """The name of a stage for people."""
        return f"{self.label}: {stage}" if self.label else stage


def run_stage(stage: str, site: Site, *, log: Log, progress: Report) -> Outcome:
    """Run one stage whose needs are there; returns whether it ran or DVC found it unchanged after all.

    ``log`` gets every line of its output, ``progress`` every step that it reports.

    Raises:
        StageError: it ended with another code than 0.
        StageInterrupted: the crew was stopped.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    name, crew = site.labelled(stage), site.crew
    env = {**site.env, "ADASDE_PROGRESS": "json", "PYTHONUNBUFFERED": "1"}
    with crew.place():
        began = time.monotonic()
        reporter().started(name)
        outcome: Outcome = "failed"
        try:
            with crew.child(command, cwd=site.folder, env=env) as child:
                outcome = _follow(child, stage, name, log=log, progress=progress)
            return outcome
        except BaseException as error:
            if crew.stopping:
                outcome = "interrupted"
                raise StageInterrupted(f"stage {stage} was interrupted") from error
            raise
        finally:
            reporter().finished(name, outcome, time.monotonic() - began)


def _follow(child: Child, stage: str, name: str, *, log: Log, progress: Report) -> Outcome:
    outcome: Outcome = "unchanged"
    tail: deque[str] = deque(maxlen=TAIL)
    for line in child.lines():
        step = parse_progress(line)
        if step:
            reporter().advanced(name, step)
            progress(step)
            continue
        if line.startswith("Running stage"):
            outcome = "ran"
        log(line)
        if line.strip():
            tail.append(line)
    if child.wait():
        raise StageError.of(stage, tail)
    return outcome


def parse_progress(line: str) -> Step | None:
    """The step that a line of output reports, or None for any other line."""
    if not line.startswith(PROGRESS):
        return None
    try:
        value = json.loads(line.removeprefix(PROGRESS))
        return Step(int(value["done"]), int(value["total"]), str(value["unit"]))
    except (ValueError, TypeError, KeyError):
        return None
