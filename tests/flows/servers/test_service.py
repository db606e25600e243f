from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from adasde.errors import AdaSDEError
from flows.servers import prefect
from flows.servers.prefect import ServerAddress
from flows.servers.service import HOST, Service, answers, free_port
from flows.system.locks import project_lock


def service(tmp_path: Path, *command: str) -> tuple[Service, int]:
    port = free_port()
    words = [word.replace("PORT", str(port)) for word in command]
    url = f"http://{HOST}:{port}"
    log = tmp_path / "logs" / "it.log"
    return Service(
        "It", [sys.executable, *words], ready=lambda: answers(url), cwd=tmp_path, env=os.environ, log=log
    ), port


def test_a_service_is_there_until_it_is_stopped(tmp_path: Path) -> None:
    it, port = service(tmp_path, "-m", "http.server", "--bind", HOST, "PORT")
    it.wait(60)
    assert answers(f"http://{HOST}:{port}/")
    assert answers(f"http://{HOST}:{port}/nothing"), "an error is an answer too"
    assert free_port(port) != port
    it.stop()
    assert not it.runs()
    assert not answers(f"http://{HOST}:{port}/")
    assert free_port(port) == port


def test_one_that_ends_at_once_says_why(tmp_path: Path) -> None:
    it, _ = service(tmp_path, "-c", "import sys; print('one'); sys.exit('no such database')")
    with pytest.raises(AdaSDEError, match=r"(?s)It ended while it started.*one.*no such database.*it\.log"):
        it.wait(60)


def test_one_that_does_not_answer_is_stopped(tmp_path: Path) -> None:
    it, _ = service(tmp_path, "-c", "import time; time.sleep(99)")
    with pytest.raises(AdaSDEError, match="does not answer after 0 s"):
        it.wait(0.3)
    assert not it.runs()


def test_a_taken_port_is_not_free() -> None:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert free_port(taken) != taken
        other = free_port(taken)
    assert free_port(other) == other


def test_the_interrupt_reaches_a_child_of_a_shell_that_ignores_it(tmp_path: Path) -> None:
    """As in ``adasde up &``: a shell starts what runs in the background with SIGINT ignored."""
    code = """
import os, signal, sys
from pathlib import Path
from flows.system.subprocesses import Child
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = Child([sys.executable, "-c", "import time; print('here', flush=True); time.sleep(99)"],
              cwd=Path("."), env=os.environ)
lines = child.lines()
next(lines)
child.stop()
print(any("KeyboardInterrupt" in line for line in lines))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "True\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    return tmp_path


def test_the_server_of_a_command_is_the_chosen_one_else_the_one_that_is_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prefect.address(home) is None
    with project_lock(home, "servers") as announce:
        assert prefect.address(home) is None, "not up yet"
        announce({"prefect": "http://up/api"})
        assert prefect.address(home) == ServerAddress("http://up/api", "adasde up")
        profile = '[profiles.mine]\nPREFECT_API_URL = "http://profile/api"\n[profiles.other]\n'
        (home / "profiles.toml").write_text(f'active = "mine"\n{profile}')
        assert prefect.address(home) == ServerAddress("http://profile/api", str(home / "profiles.toml"))
        monkeypatch.setenv("PREFECT_API_URL", "http://mine/api")
        assert prefect.address(home) == ServerAddress("http://mine/api", "PREFECT_API_URL")
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_PROFILE", "other")
    assert prefect.address(home) is None


def test_a_chosen_server_that_does_not_answer_is_named() -> None:
    url = prefect.api_url(free_port())
    with pytest.raises(AdaSDEError, match=rf"{url} \(from PREFECT_API_URL\) does not answer.*unset"):
        ServerAddress(url, "PREFECT_API_URL").wait()
