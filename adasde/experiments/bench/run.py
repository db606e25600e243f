"""``bench``: every sampler's schedule is chosen on validation seeds and measured on test seeds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.cells import Cell
from adasde.experiments.bench.plan import BenchPlan
from adasde.experiments.bench.results import document
from adasde.experiments.bench.settings import BenchSettings
from adasde.utils.parallel import one_thread, processes
from adasde.utils.progress import Advance, track


def bench(settings: BenchSettings, out: Path, *, workers: int = 1) -> dict[str, Any]:
    """The document with all that ``settings`` asks for, which the outputs are made from.

    Cells in ``out``/cells are not computed again, so that a stopped run resumes. ``workers``: processes, one
    thread each.

    Raises:
        ParamsError, CheckpointError: something in ``settings`` does not exist (raised before any sampling).
        DataError: ``out`` cannot be written, or a worker died.
    """
    cache = CellCache(out / "cells")
    plans = [BenchPlan(spec, settings, cache) for spec in settings.targets]
    total = sum(plan.cost for plan in plans) // 1000
    with (
        track(total, "bench", "k evaluations") as advance,
        running(cache, workers, advance) as compute,
    ):
        measured = {plan.goal.name: plan.run(compute) for plan in plans}
    return document(settings, measured)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runner:
    """``compute(cells)``: their results in order, from the cache where they are there."""

    def __init__(self, cache: CellCache, pool: ProcessPoolExecutor | None, advance: Advance) -> None:
        self.cache, self.pool, self.advance = cache, pool, advance
        self.rest = 0

    def __call__(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        found = {i: result for i, cell in enumerate(cells) if (result := self.cache.get(cell.identity))}
        self._count(sum(cells[i].cost for i in found))
        for i, result in self._fresh({i: cell for i, cell in enumerate(cells) if i not in found}):
            found[i] = result
            self._count(cells[i].cost)
        return [found[i] for i in range(len(cells))]

    def _fresh(self, cells: dict[int, Cell]) -> Iterator[tuple[int, dict[str, Any]]]:
        if self.pool is None:
            yield from ((i, cell.compute(self.cache)) for i, cell in cells.items())
            return
        costly_first = sorted(cells.items(), key=lambda item: -item[1].cost)
        futures = {self.pool.submit(cell.compute, self.cache): i for i, cell in costly_first}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _count(self, evaluations: int) -> None:
        """Advance in thousands; the remainder is kept for the next call."""
        units, self.rest = divmod(self.rest + evaluations, 1000)
        if units:
            self.advance(units)


@contextmanager
def running(cache: CellCache, workers: int, advance: Advance) -> Iterator[Runner]:
    """A runner with ``workers`` processes (1: this one)."""
    if workers <= 1:
        one_thread()
        yield Runner(cache, None, advance)
        return
    with processes(workers, "the bench") as pool:
        yield Runner(cache, pool, advance)
