"""The executor of a Dask cluster: usable in an event loop, stopped early, and closed afterwards."""

from __future__ import annotations

import asyncio
import time

import distributed
import pytest
from dask_clients import open_clients

from adasde.utils.parallel import executor, spread


def squared(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    time.sleep(number // 1000)
    return number**2


@pytest.mark.integration
def test_work_on_a_cluster_from_inside_an_event_loop() -> None:
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}

    async def work(address: str) -> dict[int, int]:
        with executor(dask=address) as pool:
            return dict(spread(squared, [3, 1, 2], pool))

    with distributed.LocalCluster(**options) as cluster:
        before = open_clients()
        assert asyncio.run(work(cluster.scheduler_address)) == {1: 1, 2: 4, 3: 9}
        began = time.monotonic()
        with (
            pytest.raises(ValueError, match="negative"),
            executor(dask=cluster.scheduler_address) as pool,
        ):
            list(spread(squared, [-1, 20_000, 30_000, 40_000], pool))
        assert time.monotonic() - began < 15, "a failure does not wait for the others"
        assert open_clients() <= before
