"""Full disks, read-only folders and Ctrl-C in every stage: nothing half-written, the next run carries on."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ROOT, adasde, explained, tree
from tiny import OUTPUTS, STAGES


def full_disk() -> None:
    """Every file of this process ends after 100 bytes: the kernel refuses the rest."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


def refuse(number: int) -> Callable[[], None]:
    """``before`` for a child in which no file can be put into its place."""

    def before() -> None:
        def replace(source: str, target: str) -> None:
            raise OSError(number, os.strerror(number), str(target))

        os.replace = replace  # type: ignore[assignment]

    return before


def clear(project: Path, stage: str) -> None:
    """Remove what ``stage`` wrote, so that it has everything to do."""
    for output in OUTPUTS[stage]:
        path = project / output
        shutil.rmtree(path) if path.is_dir() else path.unlink()


FAILURES = {
    "full disk, by the kernel": (full_disk, "File too large"),
    "full disk": (refuse(errno.ENOSPC), "No space left on device"),
    "read-only": (refuse(errno.EROFS), "Read-only file system"),
}


HEAVY = {"reference", "evaluate", "report"}
"""A second or two each: in the quick tests one failure and one interruption of these are enough."""


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        pytest.param(stage, how, marks=[pytest.mark.long] if stage in HEAVY and how != "full disk" else [])
        for stage in STAGES
        for how in FAILURES
    ],
)
def test_nothing_can_be_written(stage: str, how: str, project: Path) -> None:
    before, reason = FAILURES[how]
    whole = tree(project)
    clear(project, stage)
    rest = tree(project)
    explained(adasde(STAGES[stage], project, before=before), "cannot write", reason)
    assert tree(project) == rest
    if how == "full disk":
        assert adasde(STAGES[stage], project).code == 0
        assert tree(project) == whole


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_file_lies_where_the_folder_should_be(stage: str, project: Path) -> None:
    clear(project, stage)
    place = project / OUTPUTS[stage][0]
    place = place.parent if place.suffix else place
    shutil.rmtree(place, ignore_errors=True)
    place.write_text("a file")
    explained(adasde(STAGES[stage], project), place.name)
    assert place.read_text() == "a file"


def at_progress() -> None:
    """Ctrl-C in the middle of the work."""
    from adasde.utils import progress

    def advance(self: object, units: int = 1, /, note: str = "") -> None:
        os.kill(os.getpid(), signal.SIGINT)

    progress._PlainLines.__call__ = advance  # type: ignore[method-assign]


def at_write(count: int) -> Callable[[], None]:
    """Ctrl-C between the writing of a file and its renaming, at the ``count``-th file."""

    def before() -> None:
        original, left = os.replace, [count]

        def replace(source: str, target: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGINT)
            original(source, target)

        os.replace = replace  # type: ignore[assignment]

    return before


MOMENTS = {"work": at_progress, **{f"write {count}": at_write(count) for count in (1, 2, 3)}}
NOT_THERE = {
    ("fetch", "work"),  # too short for progress
    ("plan", "work"),
    ("plan", "write 3"),
    ("distill", "write 3"),  # these write fewer files
    ("evaluate", "write 2"),
    ("evaluate", "write 3"),
}


@pytest.mark.parametrize(
    ("stage", "moment"),
    [
        pytest.param(
            stage, moment, marks=[pytest.mark.long] if stage in HEAVY and moment != "write 1" else []
        )
        for stage in STAGES
        for moment in MOMENTS
        if (stage, moment) not in NOT_THERE
    ],
)
def test_ctrl_c_in_any_stage(stage: str, moment: str, project: Path) -> None:
    whole = tree(project)
    clear(project, stage)
    ended = adasde(STAGES[stage], project, before=MOMENTS[moment])
    assert ended.code == 130, ended
    assert ended.err.strip().splitlines()[-1].startswith("error: interrupted. Nothing was left half-written")
    assert "Traceback" not in ended.err
    assert list(project.rglob("*.tmp")) == []
    manifests = {name for name in whole if name.endswith("manifest.json")}
    for name, data in tree(project).items():
        assert name in manifests or data == whole[name], name
    assert adasde(STAGES[stage], project).code == 0
    assert tree(project) == whole


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_from_outside_to_the_installed_program(number: signal.Signals, project: Path) -> None:
    whole = tree(project)
    clear(project, "teacher")
    command = [sys.executable, "-m", "adasde", *STAGES["teacher"]]
    environment = os.environ | {"ADASDE_PROGRESS": "json", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("@progress ")
        child.send_signal(number)
        child.stdout.read()  # to its end: a closed pipe would be another failure than the signal
    assert child.returncode == 128 + number
    assert list(project.rglob("*.tmp")) == []
    assert adasde(STAGES["teacher"], project).code == 0
    assert tree(project) == whole
