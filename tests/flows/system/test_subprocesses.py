from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.system.subprocesses import Child, Crew

STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("here", flush=True)
time.sleep(99)
"""
POLITE = """
import os, subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
try:
    print(os.getpid(), inner.pid, flush=True)
    time.sleep(99)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(7)
"""


def start(code: str, tmp_path: Path) -> Child:
    return Child([sys.executable, "-c", code], cwd=tmp_path, env=os.environ)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def eventually(true: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def test_output_and_exit_code(tmp_path: Path) -> None:
    child = start("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", tmp_path)
    assert sorted(child.lines()) == ["err", "out"]
    assert child.wait() == 3


def test_stop_interrupts_the_whole_group(tmp_path: Path) -> None:
    child = start(POLITE, tmp_path)
    lines = child.lines()
    pids = [int(word) for word in next(lines).split()]
    child.stop()
    assert "interrupted" in list(lines)  # the inner process may print its own traceback before or after
    assert child.wait() == 7
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in pids)


def test_a_group_that_ignores_the_interrupt_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = "import signal, flows.system.supervise as g; "
    patient += "g.PATIENCE = ((signal.SIGINT, 0.5), (signal.SIGTERM, 0.5)); "
    code = patient + f"import sys; sys.argv[1:] = [sys.executable, '-c', {STUBBORN!r}]; sys.exit(g.main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    assert process.stdout.readline() == "here\n"
    process.stdin.close()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    process.stdout.close()


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from flows.system.subprocesses import Child
child = Child([{sys.executable!r}, "-c", {POLITE!r}], cwd=Path({str(tmp_path)!r}), env=os.environ)
lines = child.lines()
print(next(lines), flush=True)
next(lines)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in pids)


def test_a_crew_has_so_many_places(tmp_path: Path) -> None:
    crew, at_once, most = Crew(2), 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal at_once, most
        with crew.place():
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.05)
            with lock:
                at_once -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_a_stopped_crew_ends_its_children_and_starts_no_more(tmp_path: Path) -> None:
    crew = Crew(1)
    with crew.child([sys.executable, "-c", POLITE], cwd=tmp_path, env=os.environ) as child:
        next(child.lines())
        crew.stop()
        assert child.wait() == 7
    with (
        pytest.raises(InterruptedError),
        crew.child([sys.executable, "-c", "print()"], cwd=tmp_path, env=os.environ),
    ):
        pass
