"""``bench``: choose every sampler's schedule on seeds of its own, then measure it on the reported ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adasde.experiments.bench.cells import Cell
from adasde.experiments.bench.plan import BenchSettings, Plan
from adasde.experiments.bench.results import document
from adasde.experiments.bench.store import Store
from adasde.utils.parallel import one_thread, processes
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
    with (
        track(total, "bench", "k evaluations") as advance,
        running(store, workers, advance) as compute,
    ):
        measured = {plan.goal.name: plan.run(compute) for plan in plans}
    return document(settings, measured)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runner:
    """``compute(cells)``: their results in order; what is stored already is taken from there."""

    def __init__(self, store: Store, pool: ProcessPoolExecutor | None, advance: Advance) -> None:
        self.store, self.pool, self.advance = store, pool, advance
        self.rest = 0

    def __call__(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        found = {i: result for i, cell in enumerate(cells) if (result := self.store.get(cell.identity))}
        self._count(sum(cells[i].cost for i in found))
        missing = {i: cell for i, cell in enumerate(cells) if i not in found}
        for i, result in self._fresh(missing):
            found[i] = result
            self._count(cells[i].cost)
        return [found[i] for i in range(len(cells))]

    def _fresh(self, cells: dict[int, Cell]) -> Iterator[tuple[int, dict[str, Any]]]:
        if self.pool is None:
            yield from ((i, cell.compute(self.store)) for i, cell in cells.items())
            return
        costly_first = sorted(cells.items(), key=lambda item: -item[1].cost)
        futures = {self.pool.submit(_compute, cell, self.store): i for i, cell in costly_first}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _count(self, evaluations: int) -> None:
        """Advance in thousands, without losing the rest."""
        units, self.rest = divmod(self.rest + evaluations, 1000)
        if units:
            self.advance(units)


@contextmanager
def running(store: Store, workers: int, advance: Advance) -> Iterator[Runner]:
    """A runner with ``workers`` processes (1: in this one)."""
    if workers <= 1:
        one_thread()
        yield Runner(store, None, advance)
        return
    with processes(workers, "the bench") as pool:
        yield Runner(store, pool, advance)


def _compute(cell: Cell, store: Store) -> dict[str, Any]:
    return cell.compute(store)
