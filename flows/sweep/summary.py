"""Result of a sweep: every trial's scores, best first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from adasde.config.metrics import METRIC_INFO
from adasde.errors import AdaSDEError
from adasde.report.table import Table, TableCell, number_text, row
from flows.tracking.versions import registered_name


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
class SweepSummary:
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
        sign = -1.0 if METRIC_INFO[self.metric].higher_is_better else 1.0

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
        """The tables of all trials, best first, and the best trial of every budget."""
        parts = [f"**{self.headline}**"]
        for nfe in self.budgets:
            rows = [row(one.trial, self._cell(one)) for one in self.ranked(nfe)]
            parts.append(Table([f"{nfe} NFE", METRIC_INFO[self.metric].label], rows).markdown())
        parts += [f"- {line.strip()}" for line in list(self.lines())[1:]]
        parts += [f"- failed: {trial}" for trial in self.failures]
        return "\n\n".join(parts)

    def _cell(self, score: Score) -> TableCell:
        return TableCell(score.text(self.metric), style="best" if score is self.best(score.nfe) else "")

    def table(self) -> Table:
        """All trials, best first, and the failed ones."""
        rows = [
            row(one.trial, str(nfe), self._cell(one), one.run_id, group=str(nfe))
            for nfe in self.budgets
            for one in self.ranked(nfe)
        ]
        rows += [row(trial, "", "failed", "", group="failed", style="bad") for trial in self.failures]
        return Table(["trial", "NFE", METRIC_INFO[self.metric].label, "MLflow run"], rows)

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

    def __init__(self, summary: SweepSummary) -> None:
        reasons = "\n".join(f"{trial}: {reason}" for trial, reason in summary.failures.items())
        count = f"{len(summary.failures)} of {summary.trials} trials failed"
        super().__init__(
            f"{count}: {', '.join(summary.failures)}. The others are done and kept; "
            f"the same command runs again only what is missing.\n{reasons}"
        )
        self.summary = summary
