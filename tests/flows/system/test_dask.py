"""The executor of a Dask cluster: usable in an event loop, stopped early, and closed afterwards."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import distributed
import pytest
from dask_clients import open_clients

from adasde.errors import AdaSDEError
from adasde.utils.parallel import executor, spread

RELEASED = threading.Event()


@pytest.fixture
def cluster() -> Iterator[distributed.LocalCluster]:
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        before = open_clients()
        yield cluster
        RELEASED.set()
        assert open_clients() <= before
    RELEASED.clear()


def squared(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    if number >= 100:
        RELEASED.wait(60)
    return number**2


@pytest.mark.integration
def test_work_on_a_cluster_from_inside_an_event_loop(cluster: distributed.LocalCluster) -> None:
    async def work() -> dict[int, int]:
        with executor(dask=cluster.scheduler_address) as pool:
            return dict(spread(squared, [3, 1, 2], pool))

    assert asyncio.run(work()) == {1: 1, 2: 4, 3: 9}


@pytest.mark.integration
def test_a_failure_does_not_wait_for_the_other_items(cluster: distributed.LocalCluster) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match="negative"), executor(dask=cluster.scheduler_address) as pool:
        list(spread(squared, [-1, 100, 101, 102], pool))
    assert time.monotonic() - began < 45


@pytest.mark.integration
def test_a_cluster_that_is_lost_is_an_error_with_a_remedy(cluster: distributed.LocalCluster) -> None:
    with (
        pytest.raises(AdaSDEError, match=r"lost.*the same command"),
        executor(dask=cluster.scheduler_address),
    ):
        raise CancelledError  # of the futures, when the scheduler is gone
