from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.system.locks import BusyError, only_run, only_servers, running_servers


def test_one_run_at_a_time_and_who_it_is(tmp_path: Path) -> None:
    project = tmp_path / "a {project}"
    with (
        only_run(project),
        pytest.raises(BusyError, match=rf"process {os.getpid()}\).*Wait until"),
        only_run(project),
    ):
        pass
    with only_run(project):
        pass


def test_servers_tell_where_they_are_as_long_as_they_are_up(tmp_path: Path) -> None:
    assert running_servers(tmp_path) == {}
    with only_servers(tmp_path) as announce:
        assert running_servers(tmp_path) == {"process": os.getpid()}
        announce({"prefect": "http://there"})
        assert running_servers(tmp_path)["prefect"] == "http://there"
        with only_run(tmp_path), pytest.raises(BusyError, match="up already"), only_servers(tmp_path):
            pass
    assert running_servers(tmp_path) == {}
