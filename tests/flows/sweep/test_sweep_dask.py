"""`adasde sweep --dask`: a scheduler that is not there, one without workers, and a real cluster."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import util
from pathlib import Path

import distributed
import pytest
from dask_clients import open_clients
from projects import Project
from waiting import eventually

from adasde.errors import AdaSDEError
from flows.servers.service import HOST, free_port
from flows.sweep import dask


@contextmanager
def process(project: Project, *words: str) -> Iterator[subprocess.Popen[str]]:
    log = project.home.parent / f"{words[0]}.log"
    with log.open("w") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
            cwd=project.home,
            env=project.environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(60)


@contextmanager
def scheduler(project: Project) -> Iterator[str]:
    port = free_port()
    with process(project, "scheduler", "--host", HOST, "--port", str(port), "--no-dashboard"):
        log = project.home.parent / "scheduler.log"
        eventually(lambda: "Scheduler at" in log.read_text(), 120)
        yield f"tcp://{HOST}:{port}"


def telling_prefect(address: str) -> set[str]:
    """The threads of workers that send Prefect events or logs."""
    with distributed.Client(address, set_as_default=False) as client:
        names = client.run(lambda: [thread.name for thread in threading.enumerate()])
    return {name for found in names.values() for name in found} & {"EventsWorkerThread", "APILogWorkerThread"}


def test_a_scheduler_that_does_not_answer_is_told_in_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(AdaSDEError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:.*`dask"):
        dask.require_cluster(f"tcp://{HOST}:{free_port()}", tmp_path)
    assert time.monotonic() - began < 60, "five seconds, and the imports on a busy machine"


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "quic://127.0.0.1:1"])
def test_an_address_that_is_none_is_told(address: str, tmp_path: Path) -> None:
    before = open_clients()
    with pytest.raises(AdaSDEError, match="no Dask scheduler answers at"):
        dask.require_cluster(address, tmp_path)
    assert open_clients() <= before


def test_a_port_that_says_nothing_is_told_in_seconds(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        address = "tcp://{}:{}".format(*silent.getsockname())
        with pytest.raises(
            AdaSDEError, match=f"no Dask scheduler answers at {address} .nothing in 5 seconds"
        ):
            dask.require_cluster(address, tmp_path)


def test_a_caller_may_be_in_an_event_loop(tmp_path: Path) -> None:
    async def ask() -> None:
        dask.require_cluster("nonsense", tmp_path)

    with pytest.raises(AdaSDEError, match="no Dask scheduler answers at nonsense"):
        asyncio.run(ask())


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = util.find_spec
    monkeypatch.setattr(dask, "find_spec", lambda name: None if name == "prefect_dask" else find(name))
    with pytest.raises(AdaSDEError, match=r"pip install 'adasde\[dask\]'"):
        dask.require_cluster("tcp://127.0.0.1:8786", tmp_path)


@pytest.mark.long
def test_trials_run_on_a_cluster(make_toy) -> None:
    project = make_toy()
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(project))
        with pytest.raises(AdaSDEError, match=r"has no workers\. Start some .*`dask worker tcp://"):
            dask.require_cluster(address, project.root)
        words = ("--nworkers", "1", "--nthreads", "2", "--no-nanny", "--no-dashboard")
        worker = stack.enter_context(process(project, "worker", address, *words))
        log = project.home.parent / "worker.log"
        eventually(lambda: "Registered to" in log.read_text(), 120)
        with pytest.raises(AdaSDEError, match=r"worker tcp://.* there is no project in /nowhere"):
            dask.require_cluster(address, Path("/nowhere"))
        ended = project.adasde(
            "sweep", "--json", "--set", "distill.lr=0.05,0.07", "--set", "nfe=5", "--dask", address
        )
        assert worker.poll() is None
        assert not telling_prefect(address), "the server of the sweep has ended: nothing is to be told to it"
    summary = json.loads(ended.stdout)
    assert {score["trial"] for score in summary["scores"]} == {"lr=0.05 nfe=5", "lr=0.07 nfe=5"}
    assert "lr=0.05 nfe=5: distill@custom-5: ran" in ended.stderr, "what workers do is told here"
    assert summary["versions"] == {"5": "1"}
    for name in ("lr=0.05_nfe=5", "lr=0.07_nfe=5"):
        (made,) = (project.root / ".cache/sweeps").glob(f"*/{name}/data/metrics/nfe5.json")
        assert made.is_file()
