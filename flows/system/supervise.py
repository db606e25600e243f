"""Run a command that never outlives whoever started it: ``python -m flows.system.supervise COMMAND…``.

The command gets a process group of its own. When standard input closes, because the parent asks for it
or is gone, the group is interrupted as by Ctrl-C, and ended by force if that does not help.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

PATIENCE = ((signal.SIGINT, 30.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 0.0))
"""What the group is sent, and the seconds it then has."""


def main() -> int:
    """Run the command of the command line; returns its exit code, 128 + n where signal n ended it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's `command &` passes on that it is ignored
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, process_group=0)
    threading.Thread(target=_end_with_parent, args=(child.pid,), daemon=True).start()
    code = child.wait()
    _send(child.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _end_with_parent(group: int) -> None:
    os.read(sys.stdin.fileno(), 1)
    for number, seconds in PATIENCE:
        _send(group, number)
        time.sleep(seconds)


def _send(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
