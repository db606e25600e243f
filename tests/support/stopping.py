"""Lets stages stop in the middle of their work, where a test then kills the whole run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from projects import Project
from waiting import eventually, processes_in

CUSTOM = '''
"""Every Python imports this: a stage that STOP names stops before its n-th file is in place."""
import json, os, sys, time
from pathlib import Path

words = sys.orig_argv
stop = json.loads(Path("STOP").read_text()) if Path("STOP").is_file() else {}
if len(words) > 2 and Path(words[1]).name == "adasde" and words[2] in stop:
    original, left = os.replace, [stop[words[2]]]

    def replace(source, target, **options):
        left[0] -= 1
        if left[0] == 0:
            Path("STOPPED-" + words[2]).touch()
            time.sleep(3600)
        return original(source, target, **options)

    os.replace = replace
'''


class Stopping(Project):
    """A project whose stages can be told to stop; what does it lies beside the home."""

    def environment(self) -> dict[str, str]:
        values = super().environment()
        paths = [str(self.home.parent / "custom"), *filter(None, [values.get("PYTHONPATH")])]
        return values | {"PYTHONPATH": os.pathsep.join(paths)}

    def prepare(self) -> None:
        """Make the folder for it."""
        (self.home.parent / "custom").mkdir()
        (self.home.parent / "custom/sitecustomize.py").write_text(CUSTOM)

    def kill_in(self, files: Mapping[str, int]) -> tuple[set[str], str]:
        """Start a run; kill all of it when a stage is about to put its n-th file in place.

        ``files`` has the n of every stage in question. Returns the stages that had come so far (more than
        one where they run side by side), and what the run had said.
        """
        (self.root / "STOP").write_text(json.dumps(files))
        process = self.start("run")
        eventually(lambda: self._stopped() or process.poll() is not None, every=0.05)
        assert process.poll() is None, process.communicate()
        kill_all(self.root)
        stopped = self._stopped()
        for path in (self.root / "STOP", *stopped):
            path.unlink()
        return {path.name.removeprefix("STOPPED-") for path in stopped}, said(process)

    def _stopped(self) -> list[Path]:
        return list(self.root.glob("STOPPED-*"))


def said(process: subprocess.Popen[str]) -> str:
    """What a killed process had written to standard error."""
    return process.communicate()[1]


def kill_all(folder: Path) -> None:
    """SIGKILL every process that works in ``folder``, as a power cut would end them."""
    while processes := processes_in(folder):
        for link in processes:
            try:
                os.kill(int(link.parent.name), signal.SIGKILL)
            except ProcessLookupError:
                continue
