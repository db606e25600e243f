"""Comparison of a reproduced run with the record: outputs by MD5, metrics by value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from adasde.report.table import MISSING, Table, TableCell, row
from flows.tracking.runs import VOLATILE

State = Literal["identical", "differs", "missing", "not recorded", "not judged"]
Hashes = Mapping[str, Mapping[str, str]]

GOOD = ("identical", "not judged")


@dataclass(frozen=True)
class Output:
    """One output of a stage: its MD5 as recorded and as made now, None where there is none."""

    path: str
    recorded: str | None
    now: str | None

    @property
    def state(self) -> State:
        """Comparison result; files with wall times are not compared."""
        if self.path.endswith(VOLATILE):
            return "not judged"
        if self.recorded is None:
            return "not recorded"
        if self.now is None:
            return "missing"
        return "identical" if self.recorded == self.now else "differs"


@dataclass(frozen=True)
class MetricChange:
    """A number as recorded and as measured now, None where it is not there."""

    name: str
    recorded: float | None
    now: float | None

    @property
    def difference(self) -> float | None:
        """Now minus then; None where one of them is not there."""
        return None if self.recorded is None or self.now is None else self.now - self.recorded

    @property
    def same(self) -> bool:
        """Whether they are equal; not-a-number equals itself."""
        return self.recorded == self.now or (self.recorded != self.recorded and self.now != self.now)


@dataclass(frozen=True)
class Comparison:
    """Stage name -> its outputs, in the order of the stages; and the metrics."""

    stages: Mapping[str, Sequence[Output]]
    metrics: Sequence[MetricChange]

    @property
    def outputs(self) -> list[Output]:
        """Those of all stages."""
        return [one for outputs in self.stages.values() for one in outputs]

    def having(self, *states: State) -> list[Output]:
        """The outputs in one of these states."""
        return [one for one in self.outputs if one.state in states]

    @property
    def differing(self) -> dict[str, list[Output]]:
        """Stage name -> its outputs that are not as recorded; stages without any are left out."""
        found = {name: [one for one in outs if one.state not in GOOD] for name, outs in self.stages.items()}
        return {name: outputs for name, outputs in found.items() if outputs}

    @property
    def identical(self) -> bool:
        """Whether every output that is compared is as recorded, byte by byte."""
        return not self.differing

    @property
    def other_metrics(self) -> list[MetricChange]:
        """The metrics that are not as recorded."""
        return [metric for metric in self.metrics if not metric.same]

    def to_json(self) -> dict[str, Any]:
        """All of it for programs."""
        return {
            "identical": self.identical,
            "stages": {
                name: [asdict(one) | {"state": one.state} for one in outputs]
                for name, outputs in self.stages.items()
            },
            "metrics": [asdict(one) | {"difference": one.difference} for one in self.metrics],
        }


def compare(
    recorded: Hashes, now: Hashes, *, metrics: Mapping[str, float], measured: Mapping[str, float]
) -> Comparison:
    """Compare the stages that were run ``now``: a lock may name others, of other budgets, from before."""
    stages = {
        stage: [
            Output(path, recorded.get(stage, {}).get(path), outs.get(path))
            for path in sorted({*recorded.get(stage, {}), *outs})
        ]
        for stage, outs in now.items()
    }
    return Comparison(
        stages, [MetricChange(name, metrics.get(name), value) for name, value in sorted(measured.items())]
    )


def tables(comparison: Comparison, *, inputs: Sequence[str]) -> Iterator[Table]:
    """Stage by stage what is identical; then the metrics that differ, if any do."""
    rows = []
    for stage, outputs in comparison.stages.items():
        compared = [one for one in outputs if one.state != "not judged"]
        same = sum(one.state == "identical" for one in compared)
        count = TableCell(f"{same} of {len(compared)}", style="good" if same == len(compared) else "bad")
        notes = [_note(one) for one in outputs if one.state != "identical"]
        notes += ["input, taken as it was kept"] if stage in inputs else []
        rows.append(row(stage, count, "\n".join(notes)))
    columns = ["stage", "identical outputs", "what differs, and what is not compared"]
    yield Table(columns, rows, title="Outputs", prose=True)
    if comparison.other_metrics:
        rows = [
            row(one.name, *(_number(value) for value in (one.recorded, one.now, one.difference)))
            for one in comparison.other_metrics
        ]
        yield Table(["metric", "recorded", "now", "difference"], rows, title="Metrics that differ")


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.6g}"


def _note(output: Output) -> str:
    if output.state == "differs":
        return f"{output.path} differs: {(output.recorded or '')[:8]} then, {(output.now or '')[:8]} now"
    return f"{output.path}: {output.state}{' (wall times)' * (output.state == 'not judged')}"


def summary(comparison: Comparison) -> str:
    """The outcome in one sentence."""
    same, compared = len(comparison.having("identical")), len(comparison.outputs)
    compared -= len(comparison.having("not judged"))
    which = f"all {compared} compared" if comparison.identical else f"{same} of {compared} compared"
    others, every = len(comparison.other_metrics), len(comparison.metrics)
    metrics = f"{others} of {every} metrics differ" if others else f"all {every} metrics are equal"
    return f"{which} outputs are byte-identical; {metrics}"
