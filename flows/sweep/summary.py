"""Result of a sweep: every trial's scores, best first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from adasde.errors import AdaSDEError
from adasde.report.table import number_text
from flows.registry.policy import HIGHER_IS_BETTER
from flows.tracking.versions import registered_name

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Score:
    """One trial at one budget.

    Attributes:
        trial: its name.
        run_id: its run in MLflow.
        metrics: flat, ``fid`` and ``fid_spread``.
        protocol: the evaluation protocol; only scores with the same one compare.
    """

    trial: str
    settings: Mapping[str, Any]
    nfe: int
    run_id: str
    metrics: Mapping[str, float]
    protocol: str

    def text(self, metric: str) -> str:
        """``0.123 ± 0.004``, or without the spread where there is none."""
        if f"{metric}_spread" not in self.metrics:
            return f"{self.metrics[metric]:.3g}"
        return number_text({"mean": self.metrics[metric], "spread": self.metrics[f"{metric}_spread"]})


@dataclass
class Summary:
    """A sweep so far.

    Attributes:
        id: the number of the sweep.
        metric: what the best is chosen by, as in the policy of promotion.
        run_id: the parent run in MLflow.
        trials: how many there are.
        failures: trial -> why it failed.
        versions: NFE -> the registered version of the best trial's coefficients.
    """

    id: str
    title: str
    model: str
    metric: str
    run_id: str
    trials: int
    scores: list[Score] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    versions: dict[int, str] = field(default_factory=dict)

    @property
    def budgets(self) -> list[int]:
        """Those with a score."""
        return sorted({score.nfe for score in self.scores})

    def ranked(self, nfe: int) -> list[Score]:
        """The scores at one budget, best first; what is not finite last."""
        sign = -1.0 if self.metric in HIGHER_IS_BETTER else 1.0

        def rank(score: Score) -> tuple[bool, float, str]:
            value = score.metrics[self.metric]
            return not math.isfinite(value), sign * value, score.trial

        return sorted((score for score in self.scores if score.nfe == nfe), key=rank)

    def best(self, nfe: int) -> Score | None:
        """The best trial at a budget; None if protocols differ or no score is finite."""
        ranked = self.ranked(nfe)
        comparable = len({score.protocol for score in ranked}) == 1
        finite = ranked and math.isfinite(ranked[0].metrics[self.metric])
        return ranked[0] if comparable and finite else None

    def winners(self) -> dict[int, Score]:
        """NFE -> its best trial, where there is one."""
        return {nfe: best for nfe in self.budgets if (best := self.best(nfe))}

    @property
    def headline(self) -> str:
        """How far it is, in one sentence."""
        done = len({score.trial for score in self.scores})
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"sweep {self.title} on {self.model}: {done} of {self.trials} trials done{failed}"

    def lines(self) -> Iterator[str]:
        """What was best, and the command that promotes it."""
        yield self.headline
        for nfe in self.budgets:
            best = self.best(nfe)
            if best is None:
                yield f"{nfe} NFE: no best, because the trials used different protocols"
                continue
            yield f"best at {nfe} NFE: {best.trial} ({self.metric} {best.text(self.metric)})"
            if nfe in self.versions:
                version, name = self.versions[nfe], registered_name(self.model, nfe)
                command = f"adasde promote {self.model} --nfe {nfe} --candidate {version}"
                yield f"  version {version} of {name}; promote it with: {command}"

    def markdown(self) -> str:
        """The tables of all trials, best first, and what is named best."""
        parts = [f"**{self.headline}**"]
        for nfe in self.budgets:
            rows = [f"| {s.trial} | {self._cell(s)} |" for s in self.ranked(nfe)]
            head = [f"| {nfe} NFE | {self.metric.upper()} |", "| --- | ---: |"]
            parts.append("\n".join([*head, *rows]))
        parts += [f"- {line.strip()}" for line in list(self.lines())[1:]]
        parts += [f"- failed: {trial}" for trial in self.failures]
        return "\n\n".join(parts)

    def _cell(self, score: Score) -> str:
        text = score.text(self.metric)
        return f"**{text}**" if score is self.best(score.nfe) else text

    def table(self) -> Table:
        """The same for the terminal."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 0, 0, 2))
        table.add_column("trial")
        for name in ("NFE", self.metric.upper()):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("MLflow run", no_wrap=True)
        for nfe in self.budgets:
            for score in self.ranked(nfe):
                style = "bold green" if score is self.best(nfe) else None
                table.add_row(score.trial, str(nfe), score.text(self.metric), score.run_id, style=style)
            table.add_section()
        for trial in self.failures:
            table.add_row(trial, "", "failed", "", style="red")
        return table

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        best = {
            str(nfe): {"trial": score.trial, "run_id": score.run_id, "version": self.versions.get(nfe)}
            for nfe, score in self.winners().items()
        }
        return asdict(self) | {"best": best}


class SweepError(AdaSDEError):
    """Trials of a sweep failed; the others are done.

    Attributes:
        summary: of the complete sweep.
    """

    def __init__(self, summary: Summary) -> None:
        reasons = "\n".join(f"{trial}: {reason}" for trial, reason in summary.failures.items())
        count = f"{len(summary.failures)} of {summary.trials} trials failed"
        super().__init__(
            f"{count}: {', '.join(summary.failures)}. The others are done and kept; "
            f"the same command runs again only what is missing.\n{reasons}"
        )
        self.summary = summary
