"""``bench``: every sampler's schedule is chosen on validation seeds and measured on test seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.cells import Cell
from adasde.experiments.bench.plan import BenchPlan
from adasde.experiments.bench.results import document
from adasde.experiments.bench.settings import BenchSettings
from adasde.utils.parallel import executor, one_thread, spread
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
    if workers <= 1:
        one_thread()
    with track(total, "bench", "k evaluations") as advance, executor(workers) as pool:
        compute = Runner(cache, pool, advance)
        measured = {plan.goal.name: plan.run(compute) for plan in plans}
    return document(settings, measured)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runner:
    """``compute(cells)``: their results in order, from the cache where they are there."""

    def __init__(self, cache: CellCache, pool: Executor | None, advance: Advance) -> None:
        self.cache, self.pool, self.advance = cache, pool, advance
        self.rest = 0

    def __call__(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        found = {i: result for i, cell in enumerate(cells) if (result := self.cache.get(cell.identity))}
        self._count(sum(cells[i].cost for i in found))
        missing = [(i, cell) for i, cell in enumerate(cells) if i not in found]
        missing.sort(key=lambda numbered: -numbered[1].cost)
        for (i, cell), result in spread(partial(_compute, self.cache), missing, self.pool):
            found[i] = result
            self._count(cell.cost)
        return [found[i] for i in range(len(cells))]

    def _count(self, evaluations: int) -> None:
        """Advance in thousands; the remainder is kept for the next call."""
        units, self.rest = divmod(self.rest + evaluations, 1000)
        if units:
            self.advance(units)


def _compute(cache: CellCache, numbered: tuple[int, Cell]) -> dict[str, Any]:
    return numbered[1].compute(cache)
