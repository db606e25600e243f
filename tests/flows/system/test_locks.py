from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from prefect.client import orchestration
from prefect.runtime import deployment

from flows.system import locks
from flows.system.locks import BusyError, lock_holder, project_lock


def test_one_run_at_a_time_and_who_it_is(tmp_path: Path) -> None:
    project = tmp_path / "a {project}"
    with (
        project_lock(project, "run"),
        pytest.raises(BusyError, match=rf"a {{project}} \(process {os.getpid()}\).*Wait until"),
        project_lock(project, "run"),
    ):
        pass
    with project_lock(project, "run"):
        pass


def test_servers_announce_where_they_are_as_long_as_they_are_up(tmp_path: Path) -> None:
    assert lock_holder(tmp_path, "servers") == {}
    with project_lock(tmp_path, "servers") as announce:
        assert lock_holder(tmp_path, "servers") == {"process": os.getpid()}
        announce({"prefect": "http://there"})
        assert lock_holder(tmp_path, "servers")["prefect"] == "http://there"
        with (
            project_lock(tmp_path, "run"),
            pytest.raises(BusyError, match="up already"),
            project_lock(tmp_path, "servers"),
        ):
            pass
    assert lock_holder(tmp_path, "servers") == {}


def test_locks_of_one_kind_differ_by_key(tmp_path: Path) -> None:
    with project_lock(tmp_path, "reproduce", key="a/1"), project_lock(tmp_path, "reproduce", key="a/2"):
        assert len(list((tmp_path / ".cache").glob("reproduce-*.lock"))) == 2
        with (
            pytest.raises(BusyError, match="run a/1 is being reproduced already"),
            project_lock(tmp_path, "reproduce", key="a/1"),
        ):
            pass


def test_a_run_by_hand_does_not_wait(tmp_path: Path) -> None:
    with project_lock(tmp_path, "run"), pytest.raises(BusyError), project_lock(tmp_path, "run", wait=True):
        pass


def test_a_run_of_a_deployment_waits_and_its_state_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[Any] = []
    shown = threading.Event()

    class Client(nullcontext[Any]):
        def set_flow_run_state(self, run: str, state: Any, *, force: bool) -> None:
            states.append(state)
            shown.set()

    client = Client()
    client.enter_result = client
    monkeypatch.setattr(orchestration, "get_client", lambda sync_client: client)
    monkeypatch.setattr(deployment, "get_id", lambda: "nightly")
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_TRIES", 0.01)

    def work() -> None:
        with project_lock(tmp_path, "run", wait=True):
            pass

    waiting = threading.Thread(target=work)
    with project_lock(tmp_path, "run"):
        waiting.start()
        assert shown.wait(60)
    waiting.join(60)
    assert [state.name for state in states] == ["Waiting", "Running"]
    assert f"process {os.getpid()}" in states[0].message and "waits" in states[0].message
