"""Which cells answer the question of the bench, and in which order they can be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adasde.errors import ParamsError
from adasde.experiments.bench.cells import Cell, Ends, Measure, Sampler, Train
from adasde.experiments.bench.results import summary
from adasde.experiments.bench.samplers import LEARNED, Classical, Grid, Learned, all_classical
from adasde.experiments.bench.store import Store
from adasde.experiments.bench.targets import target
from adasde.sampling.schedules import unknown

CHOICE_SEED = 900_000_000
"""The first of the seeds that schedules are chosen on; they are never reported."""

Compute = Callable[[Sequence[Cell]], list[dict[str, Any]]]


@dataclass(frozen=True)
class BenchSettings:
    """What to measure, and on how many images.

    Attributes:
        targets: models, see ``bench.targets.target``.
        nfe: budgets; a row appears where its sampler can spend one exactly.
        classical, grids: every solver is tried on every grid, with and without AFS.
        learned, learned_grids: every recipe is distilled on every grid, with AFS where that fits.
        trajectories: of the teacher, which all recipes learn from.
        images, ranges, first_seed: ``ranges`` disjoint seed ranges of ``images`` each are reported.
        choice_images: images that a schedule is chosen by.
        metric: the one that decides; empty: the first of the model's own.
        floor_steps: Heun steps that show what the model itself can do.
    """

    targets: tuple[str, ...] = ("digits",)
    nfe: tuple[int, ...] = (3, 5, 7, 9)
    classical: tuple[Classical, ...] = field(default_factory=lambda: tuple(all_classical()))
    grids: tuple[Grid, ...] = (Grid("polynomial", 7.0), Grid("logsnr"), Grid("time_uniform"))
    learned: tuple[Learned, ...] = tuple(LEARNED.values())
    learned_grids: tuple[Grid, ...] = (Grid("polynomial", 7.0), Grid("time_uniform", 1.5))
    trajectories: int = 8000
    images: int = 3000
    ranges: int = 3
    first_seed: int = 2_000_000
    choice_images: int = 1000
    metric: str = ""
    floor_steps: int = 50

    def __post_init__(self) -> None:
        for name in ("targets", "nfe"):
            if not getattr(self, name):
                raise ParamsError(f"the bench needs at least one entry in {name}.")
        if min(self.nfe) < 1:
            raise ParamsError(f"nfe must be at least 1, got {min(self.nfe)}.")
        for name in ("images", "choice_images"):
            if getattr(self, name) < 2:
                raise ParamsError(f"{name} must be at least 2, got {getattr(self, name)}.")
        if self.ranges < 1 or self.floor_steps < 1:
            raise ParamsError(f"ranges and floor_steps must be >= 1: {self.ranges}, {self.floor_steps}.")
        if self.trajectories < 1:
            raise ParamsError(f"trajectories must be at least 1, got {self.trajectories}.")
        last = self.first_seed + self.ranges * self.images
        if not 2**32 > CHOICE_SEED >= last or self.first_seed < self.trajectories:
            raise ParamsError(
                f"the reported seeds {self.first_seed} to {last - 1} must lie between {self.trajectories} "
                f"and {CHOICE_SEED - 1}: training and the choice of schedules have the others."
            )


def deciding_first(metrics: tuple[str, ...], name: str) -> tuple[str, ...]:
    """``metrics`` with ``name`` in front; unchanged for an empty name.

    Raises:
        ParamsError: no such metric; says which there are and which one is nearest.
    """
    if name and name not in metrics:
        raise ParamsError(unknown("metric", name, metrics))
    return tuple(sorted(metrics, key=lambda metric: metric != name)) if name else metrics


@dataclass(frozen=True)
class Row:
    """One sampler at one budget, its schedule not chosen yet."""

    entry: Classical | Learned
    afs: bool
    nfe: int
    steps: int


class Plan:
    """All of one target."""

    def __init__(self, spec: str, settings: BenchSettings, store: Store) -> None:
        self.spec, self.settings, self.store = spec, settings, store
        self.goal = target(spec)
        self.metrics = deciding_first(self.goal.metrics, settings.metric)
        self.ends = Ends(spec, settings.trajectories)
        self.rows = list(self._rows())

    def _rows(self) -> Iterator[Row]:
        for nfe in self.settings.nfe:
            for entry in self.settings.classical:
                for afs in (False, True):
                    if steps := entry.steps(nfe, afs=afs):
                        yield Row(entry, afs, nfe, steps)
            for learned in self.settings.learned:
                fitting = [(afs, learned.steps(nfe, afs=afs)) for afs in (True, False)]
                for afs, steps in [(afs, steps) for afs, steps in fitting if steps][:1]:
                    yield Row(learned, afs, nfe, steps)

    @property
    def cost(self) -> int:
        """Of all cells, stored or not."""
        settings = self.settings
        total = sum(cell.cost for cell in self._floor())
        total += self.ends.cost * any(isinstance(row.entry, Learned) for row in self.rows)
        for row in self.rows:
            grids = self._grids(row)
            total += row.nfe * (len(grids) * settings.choice_images + settings.ranges * settings.images)
            if isinstance(row.entry, Learned):
                trains = [self._train(row, row.entry, sigmas) for sigmas in grids.values()]
                total += sum(cell.cost for cell in trains)
        return total

    def run(self, compute: Compute) -> dict[str, Any]:
        """Rows with their measurements, and the floor."""
        samplers = self._samplers(compute)
        tried = [(row, label, sampler) for row, choices in samplers for label, sampler in choices.items()]
        seeds = range(CHOICE_SEED, CHOICE_SEED + self.settings.choice_images)
        scores = compute([self._measure(sampler, row.nfe, seeds) for row, _, sampler in tried])
        chosen: list[tuple[Row, str, Sampler, dict[str, float]]] = []
        for row, choices in samplers:
            known = {
                label: result["metrics"][self.metrics[0]]
                for (tried_row, label, _), result in zip(tried, scores, strict=True)
                if tried_row is row and "metrics" in result
            }
            if known:
                best = min(known, key=known.__getitem__)
                chosen.append((row, best, choices[best], known))
        reported = [cell for row, _, sampler, _ in chosen for cell in self._reported(sampler, row.nfe)]
        results = iter(compute([*reported, *self._floor()]))
        ranges = range(self.settings.ranges)
        rows = [
            self._about(row, label, sampler) | {"tried": known} | summary([next(results) for _ in ranges])
            for row, label, sampler, known in chosen
        ]
        floor = summary([next(results) for _ in ranges]) | {"steps": self.settings.floor_steps}
        return {"metrics": list(self.metrics), "rows": rows, "floor": floor}

    def _about(self, row: Row, schedule: str, sampler: Sampler) -> dict[str, Any]:
        """What a row is, as JSON; ``cell`` finds its images."""
        entry, first = row.entry, self._reported(sampler, row.nfe)[0]
        inner = entry.settings.solver if isinstance(entry, Learned) else entry.solver
        return {
            "label": entry.label,
            "family": entry.family,
            "solver": inner,
            "nfe": row.nfe,
            "afs": row.afs,
            "schedule": schedule,
            "steps": row.steps,
            "table": Path(sampler.table).name if sampler.table else None,
            "cell": self.store.path(first.identity).stem,
        }

    def _samplers(self, compute: Compute) -> list[tuple[Row, dict[str, Sampler]]]:
        """For every row, its sampler on every grid; learned ones are distilled here."""
        choices: list[tuple[Row, dict[str, Sampler]]] = []
        learned = [row for row in self.rows if isinstance(row.entry, Learned)]
        if learned:
            compute([self.ends])
        jobs = [
            (row, label, self._train(row, row.entry, sigmas))
            for row in learned
            if isinstance(row.entry, Learned)
            for label, sigmas in self._grids(row).items()
        ]
        tables = compute([cell for _, _, cell in jobs])
        for row in self.rows:
            if isinstance(row.entry, Classical):
                entry = row.entry
                grids = self._grids(row).items()
                choices.append((row, {label: Sampler(s, row.afs, entry) for label, s in grids}))
                continue
            done = {
                label: Sampler(cell.sigmas, row.afs, table=str(self.store.folder / result["table"]))
                for (of, label, cell), result in zip(jobs, tables, strict=True)
                if of is row and "table" in result
            }
            choices.append((row, done))
        return choices

    def _grids(self, row: Row) -> dict[str, tuple[float, ...]]:
        settings = self.settings
        grids = settings.grids if isinstance(row.entry, Classical) else settings.learned_grids
        ends = {"sigma_min": self.goal.sigma_min, "sigma_max": self.goal.sigma_max}
        made = {grid.label: grid.sigmas(row.steps, **ends) for grid in grids}
        return {label: tuple(sigmas.tolist()) for label, sigmas in made.items() if sigmas is not None}

    def _train(self, row: Row, entry: Learned, sigmas: tuple[float, ...]) -> Train:
        return Train(self.spec, entry, sigmas, row.afs, row.nfe, self.ends)

    def _measure(self, sampler: Sampler, nfe: int, seeds: range) -> Measure:
        return Measure(self.spec, sampler, nfe, seeds.start, seeds.stop)

    def _reported(self, sampler: Sampler, nfe: int) -> list[Measure]:
        first, images = self.settings.first_seed, self.settings.images
        starts = [first + k * images for k in range(self.settings.ranges)]
        return [self._measure(sampler, nfe, range(start, start + images)) for start in starts]

    def _floor(self) -> list[Measure]:
        steps = self.settings.floor_steps
        ends = {"sigma_min": self.goal.sigma_min, "sigma_max": self.goal.sigma_max}
        sigmas = Grid("polynomial", 7.0).sigmas(steps, **ends)
        assert sigmas is not None  # it is not explicit
        return self._reported(Sampler(tuple(sigmas.tolist()), False, Classical("heun")), 2 * steps)
