"""One function over many items: lazily in this process, or in processes of which one may die."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adasde.errors import AdaSDEError, DataError
from adasde.utils.parallel import executor, spread


def die(item: int) -> int:
    os._exit(item)


def test_without_a_pool_items_are_done_when_asked_for() -> None:
    done: list[int] = []
    with executor() as pool:
        results = spread(lambda item: done.append(item) or -item, [3, 1, 2], pool)
        assert next(results) == (3, -3) and done == [3]
        assert list(results) == [(1, -1), (2, -2)]


def test_a_process_that_dies_is_an_error_with_a_remedy() -> None:
    with pytest.raises(DataError, match=r"died.*fewer --workers"), executor(2) as pool:
        list(spread(die, [1, 2, 3], pool))


def test_a_cluster_that_no_package_provides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("adasde.utils.parallel.EXECUTORS", "adasde.others")
    with pytest.raises(AdaSDEError, match=r"pip install 'adasde\[dask\]'"), executor(dask="tcp://nowhere"):
        pass
