"""Which cells a bench needs, and in which order they can be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adasde.errors import ParamsError
from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.cells import Cell, Measure, SamplerSpec, Train
from adasde.experiments.bench.results import summary
from adasde.experiments.bench.samplers import Classical, Learned, ScheduleSpec
from adasde.experiments.bench.settings import EDM, VALIDATION_SEED, BenchSettings
from adasde.experiments.bench.targets import target
from adasde.experiments.bench.taught import Ends, Nodes
from adasde.sampling.schedules import unknown

Compute = Callable[[Sequence[Cell]], list[dict[str, Any]]]
"""Cells -> their results, in order."""


def deciding_first(metrics: tuple[str, ...], name: str) -> tuple[str, ...]:
    """``metrics`` with ``name`` in front; unchanged for an empty name.

    Raises:
        ParamsError: no such metric; names the known ones and the nearest.
    """
    if name and name not in metrics:
        raise ParamsError(unknown("metric", name, metrics))
    return tuple(sorted(metrics, key=lambda metric: metric != name)) if name else metrics


@dataclass(frozen=True, eq=False)
class BenchRow:
    """One sampler at one budget, before its schedule is chosen."""

    entry: Classical | Learned
    afs: bool
    nfe: int
    steps: int


Samplers = dict[BenchRow, dict[str, SamplerSpec]]
"""Row -> schedule -> the row's sampler on it."""


class BenchPlan:
    """The rows of one target and the cells behind them."""

    def __init__(self, spec: str, settings: BenchSettings, cache: CellCache) -> None:
        self.spec, self.settings, self.cache = spec, settings, cache
        self.goal = target(spec)
        self.metrics = deciding_first(self.goal.metrics, settings.metric)
        self.rows = list(self._rows())

    def _rows(self) -> Iterator[BenchRow]:
        for nfe in self.settings.nfe:
            for entry in self.settings.classical:
                for afs in (False, True):
                    if steps := entry.steps(nfe, afs=afs):
                        yield BenchRow(entry, afs, nfe, steps)
            for learned in self.settings.learned:
                for afs in (True, False):
                    if steps := learned.steps(nfe, afs=afs):
                        yield BenchRow(learned, afs, nfe, steps)
                        break

    @property
    def cost(self) -> int:
        """Network evaluations of all cells, cached or not."""
        settings, trains = self.settings, self._trains()
        total = sum(cell.cost for cell in (*self._floor(), *_taught(trains), *(cell for *_, cell in trains)))
        images = settings.ranges * settings.images
        return total + sum(
            row.nfe * (len(self._grids(row)) * settings.choice_images + images) for row in self.rows
        )

    def run(self, compute: Compute) -> dict[str, Any]:
        """Rows with their test results, and those of the many-step sampler (``floor``), as JSON."""
        samplers = self._samplers(compute)
        scores = self._validate(samplers, compute)
        chosen = {row: min(tried, key=tried.__getitem__) for row, tried in scores.items() if tried}
        tests = [self._tests(samplers[row][schedule], row.nfe) for row, schedule in chosen.items()]
        results = iter(compute([cell for cells in (*tests, self._floor()) for cell in cells]))
        measured = [summary([next(results) for _ in cells]) for cells in tests]
        rows = [
            self._about(row, schedule, samplers[row][schedule]) | {"tried": scores[row]} | numbers
            for (row, schedule), numbers in zip(chosen.items(), measured, strict=True)
        ]
        floor = summary(list(results)) | {"steps": self.settings.floor_steps}
        return {"metrics": list(self.metrics), "rows": rows, "floor": floor}

    def _samplers(self, compute: Compute) -> Samplers:
        """Every row's samplers; the learned ones are distilled here."""
        samplers: Samplers = {row: {} for row in self.rows}
        for row in self.rows:
            if isinstance(row.entry, Classical):
                for label, sigmas in self._grids(row).items():
                    samplers[row][label] = SamplerSpec(sigmas, row.afs, row.entry)
        trains = self._trains()
        compute(_taught(trains))
        for (row, label, cell), result in zip(trains, compute([cell for *_, cell in trains]), strict=True):
            if "table" in result:
                table = str(self.cache.folder / result["table"])
                samplers[row][label] = SamplerSpec(cell.sigmas, row.afs, table=table)
        return samplers

    def _validate(self, samplers: Samplers, compute: Compute) -> dict[BenchRow, dict[str, float]]:
        """Row -> schedule -> the deciding metric on the validation seeds, where the sampler works."""
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + self.settings.choice_images)
        tried = [(row, label, spec) for row, specs in samplers.items() for label, spec in specs.items()]
        results = compute([self._measure(spec, row.nfe, seeds) for row, _, spec in tried])
        scores: dict[BenchRow, dict[str, float]] = {row: {} for row in samplers}
        for (row, label, _), result in zip(tried, results, strict=True):
            if "metrics" in result:
                scores[row][label] = result["metrics"][self.metrics[0]]
        return scores

    def _about(self, row: BenchRow, schedule: str, sampler: SamplerSpec) -> dict[str, Any]:
        """Description of a row as JSON; ``cell`` is the name of the cached cell with its images."""
        entry, first = row.entry, self._tests(sampler, row.nfe)[0]
        return {
            "label": entry.label,
            "family": entry.family,
            "solver": entry.settings.solver if isinstance(entry, Learned) else entry.solver,
            "nfe": row.nfe,
            "afs": row.afs,
            "schedule": schedule,
            "steps": row.steps,
            "table": Path(sampler.table).name if sampler.table else None,
            "cell": self.cache.path(first.identity).stem,
        }

    def _grids(self, row: BenchRow) -> dict[str, tuple[float, ...]]:
        """Schedule -> its noise levels for this row."""
        return {spec.label: sigmas for spec, sigmas in self._specs(row).items()}

    def _specs(self, row: BenchRow) -> dict[ScheduleSpec, tuple[float, ...]]:
        """Schedules to try for this row, and their noise levels; a recipe that names one is tried on it."""
        settings, entry = self.settings, row.entry
        if isinstance(entry, Classical):
            specs = settings.grids
        else:
            own = entry.grid(row.nfe)
            specs = (own,) if own else settings.learned_grids
        ends = {"sigma_min": self.goal.sigma_min, "sigma_max": self.goal.sigma_max}
        made = {spec: spec.sigmas(row.steps, **ends) for spec in specs}
        return {spec: tuple(sigmas.tolist()) for spec, sigmas in made.items() if sigmas is not None}

    def _trains(self) -> list[tuple[BenchRow, str, Train]]:
        """(row, schedule, distillation) of all learned samplers."""
        return [
            (row, spec.label, self._train(row, row.entry, spec, sigmas))
            for row in self.rows
            if isinstance(row.entry, Learned)
            for spec, sigmas in self._specs(row).items()
        ]

    def _train(self, row: BenchRow, entry: Learned, spec: ScheduleSpec, sigmas: tuple[float, ...]) -> Train:
        """The distillation, from the common teacher or from the recipe's own."""
        teacher, count = entry.teacher(row.nfe), self.settings.trajectories
        taught = Nodes(self.spec, count, teacher, spec, sigmas) if teacher else Ends(self.spec, count)
        return Train(self.spec, entry, sigmas, row.afs, row.nfe, taught)

    def _measure(self, sampler: SamplerSpec, nfe: int, seeds: range) -> Measure:
        return Measure(self.spec, sampler, nfe, seeds.start, seeds.stop)

    def _tests(self, sampler: SamplerSpec, nfe: int) -> list[Measure]:
        """A cell for every range of test seeds."""
        first, images = self.settings.first_seed, self.settings.images
        starts = [first + k * images for k in range(self.settings.ranges)]
        return [self._measure(sampler, nfe, range(start, start + images)) for start in starts]

    def _floor(self) -> list[Measure]:
        steps = self.settings.floor_steps
        sigmas = EDM.sigmas(steps, sigma_min=self.goal.sigma_min, sigma_max=self.goal.sigma_max)
        assert sigmas is not None  # it has no explicit nodes
        return self._tests(SamplerSpec(tuple(sigmas.tolist()), False, Classical("heun")), 2 * steps)


def _taught(trains: Sequence[tuple[BenchRow, str, Train]]) -> list[Ends | Nodes]:
    """Teacher's states of all distillations, each once."""
    return list(dict.fromkeys(cell.taught for *_, cell in trains))
