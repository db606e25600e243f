"""``bench``: choose every sampler's schedule on seeds of its own, then measure it on the reported ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from adasde.experiments.bench.cells import Cell
from adasde.experiments.bench.plan import BenchSettings, Plan
from adasde.experiments.bench.results import document
from adasde.experiments.bench.store import Store
from adasde.utils.parallel import executor, one_thread, spread
from adasde.utils.progress import Advance, track


def bench(settings: BenchSettings, out: Path, *, workers: int = 1) -> dict[str, Any]:
    """Measure everything that ``settings`` names; returns the document that the outputs are made from.

    Cells that ``out``/cells holds already are not computed again, so that a run that was stopped carries
    on. ``workers``: processes, one thread each.

    Raises:
        ParamsError, CheckpointError: something in ``settings`` does not exist (before anything is spent).
        DataError: ``out`` cannot be written, or a worker died.
    """
    store = Store(out / "cells")
    plans = [Plan(spec, settings, store) for spec in settings.targets]
    total = sum(plan.cost for plan in plans) // 1000
    if workers <= 1:
        one_thread()
    with track(total, "bench", "k evaluations") as advance, executor(workers) as pool:
        compute = Runner(store, pool, advance)
        measured = {plan.goal.name: plan.run(compute) for plan in plans}
    return document(settings, measured)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runner:
    """``compute(cells)``: their results in order; what is stored already is taken from there."""

    def __init__(self, store: Store, pool: Executor | None, advance: Advance) -> None:
        self.store, self.pool, self.advance = store, pool, advance
        self.rest = 0

    def __call__(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        found = {i: result for i, cell in enumerate(cells) if (result := self.store.get(cell.identity))}
        self._count(sum(cells[i].cost for i in found))
        missing = [(i, cell) for i, cell in enumerate(cells) if i not in found]
        missing.sort(key=lambda numbered: -numbered[1].cost)
        for (i, cell), result in spread(partial(_compute, self.store), missing, self.pool):
            found[i] = result
            self._count(cell.cost)
        return [found[i] for i in range(len(cells))]

    def _count(self, evaluations: int) -> None:
        """Advance in thousands, without losing the rest."""
        units, self.rest = divmod(self.rest + evaluations, 1000)
        if units:
            self.advance(units)


def _compute(store: Store, numbered: tuple[int, Cell]) -> dict[str, Any]:
    return numbered[1].compute(store)
