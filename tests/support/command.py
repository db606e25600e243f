"""Runs the real command line in a real child process, quickly: a fork of the one that runs the tests."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import adasde.config.params
import adasde.report
import adasde.stages.distill
import adasde.stages.evaluate
import adasde.stages.fetch
import adasde.stages.reference
import adasde.stages.sample
import adasde.stages.train
from adasde.cli.main import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


def adasde(arguments: Sequence[str], cwd: Path, *, before: Callable[[], None] = lambda: None) -> Finished:
    """Run ``adasde ARGUMENTS`` in ``cwd``; ``before()`` prepares the child (and only the child) first."""
    out, err = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(arguments, cwd, before, out[1], err[1])
    os.close(out[1])
    os.close(err[1])
    texts = []
    for end in (out[0], err[0]):
        with os.fdopen(end) as stream:
            texts.append(stream.read())
    _, status = os.waitpid(pid, 0)
    return Finished(os.waitstatus_to_exitcode(status), *texts)


def _child(arguments: Sequence[str], cwd: Path, before: Callable[[], None], out: int, err: int) -> None:
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        gc.disable()  # a collection would copy the pages shared with the parent
        os.chdir(cwd)
        sys.argv = ["adasde", *arguments]
        before()
        main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def tree(folder: Path) -> dict[str, bytes]:
    """Path -> bytes of every file below ``folder`` that must not differ between runs."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if not p.name.endswith(".timing.json")}


@contextmanager
def files_end_after(size: int) -> Iterator[None]:
    """Here, and for children started meanwhile, the disk is full once a file has so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def explained(ended: Finished, *words: str) -> None:
    """The command failed with one paragraph on stderr that has all ``words``, and no traceback."""
    assert ended.code == 1, ended
    message = ended.err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    for word in words:
        assert word in message
    assert "Traceback" not in ended.err
