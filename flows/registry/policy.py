"""Promotion policy: whether a candidate becomes champion, as a pure function of their numbers.

The policy is the section ``promotion`` of params.yaml. A candidate wins if its ``metric`` is better than the
champion's by ``margin`` (a fraction of the champion's) and by ``spread`` combined standard deviations over
the seed ranges, and no metric in ``tolerance`` is worse than the champion's by more than the given fraction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from adasde.config.metrics import METRIC_INFO
from adasde.config.sections import PromotionParams
from adasde.errors import DataError


@dataclass(frozen=True)
class MetricValue:
    """Metric of a version: mean over the seed ranges; standard deviation and values if known."""

    mean: float
    spread: float | None = None
    values: tuple[float, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether all its numbers are finite."""
        return all(math.isfinite(number) for number in (self.mean, self.spread or 0.0, *self.values))

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if self.spread is None else f" ± {self.spread:.2g}")


@dataclass(frozen=True)
class Candidate:
    """Version that takes part in a comparison; the champion is one too.

    Attributes:
        version: the registered version.
        sha256: of the coefficient file.
        weights: SHA-256 of the checkpoint that it was distilled for; empty if unknown.
        protocol: hash of the evaluation protocol of ``metrics``.
        metrics: values by name.
        rejected: it was champion and has been rolled back.
        files: bytes by name that are published when it becomes champion.
    """

    version: str
    sha256: str
    weights: str
    protocol: str
    metrics: Mapping[str, MetricValue]
    rejected: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def facts(self) -> dict[str, Any]:
        """All attributes except the files, as JSON values."""
        facts = asdict(replace(self, files={}))
        del facts["files"]
        return facts


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and the reasons in sentences."""

    promote: bool
    reasons: tuple[str, ...]


def decide(candidate: Candidate, champion: Candidate | None, policy: PromotionParams) -> Decision:
    """Whether ``candidate`` replaces ``champion`` (None: there is none yet)."""
    if champion is not None and same(candidate, champion):
        return Decision(False, ("it has the same coefficients as the champion: there is nothing to do",))
    if flaws := _flaws(candidate, policy):
        return Decision(False, flaws)
    if candidate.rejected:
        return Decision(False, ("it was champion and was rolled back; --force promotes it again",))
    if champion is None:
        measured = f"{policy.metric} {candidate.metrics[policy.metric]}"
        return Decision(True, (f"there is no champion yet, and {measured} is measured",))
    if obstacle := _obstacle(candidate, champion):
        return Decision(False, (obstacle,))
    verdicts = [_wins(candidate, champion, policy)]
    verdicts += [
        _holds(candidate, champion, name, share)
        for name, share in policy.tolerance.items()
        if name != policy.metric
    ]
    return Decision(all(ok for ok, _ in verdicts), tuple(reason for _, reason in verdicts))


def same(candidate: Candidate, champion: Candidate) -> bool:
    """Whether both have the same coefficient file."""
    return candidate.sha256 == champion.sha256


def comparable(candidate: Candidate, champion: Candidate) -> bool:
    """Whether both were measured under the same protocol."""
    return candidate.protocol == champion.protocol


def other_weights(candidate: Candidate, champion: Candidate) -> bool:
    """Whether the two are known to be distilled for different checkpoints."""
    return bool(candidate.weights and champion.weights) and candidate.weights != champion.weights


def read_row(row: Any) -> dict[str, MetricValue]:
    """Metrics in a row of a metrics file: plain numbers, or ``{"mean", "spread", "values"}``.

    Raises:
        DataError: the row is invalid.
    """
    try:
        return {name: _metric_value(row[name]) for name in METRIC_INFO if name in row}
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"this is no row of metrics: {error!r}.") from error


def _metric_value(value: Any) -> MetricValue:
    if not isinstance(value, Mapping):
        return MetricValue(float(value))
    values = tuple(float(one) for one in value.get("values", ()))
    # one seed range has no spread; older files have 0 there
    known = None if len(values) == 1 else value["spread"]
    return MetricValue(float(value["mean"]), None if known is None else float(known), values)


def _flaws(candidate: Candidate, policy: PromotionParams) -> tuple[str, ...]:
    """Metrics of the candidate that are missing or not finite."""
    wanted = dict.fromkeys((policy.metric, *policy.tolerance, *candidate.metrics))
    missing = [name for name in wanted if name not in candidate.metrics]
    broken = [name for name in wanted if name in candidate.metrics and not candidate.metrics[name].finite]
    lines = [f"its {name} was not measured" for name in missing]
    return tuple(lines + [f"its {name} is not finite ({candidate.metrics[name]})" for name in broken])


def _obstacle(candidate: Candidate, champion: Candidate) -> str:
    """Why the two cannot be compared; empty if they can."""
    if other_weights(candidate, champion):
        return (
            f"it was distilled for other weights (sha256 {candidate.weights[:12]}…) than the champion "
            f"({champion.weights[:12]}…), so users of the champion could not use it"
        )
    if not comparable(candidate, champion):
        return (
            f"it was measured under another protocol ({candidate.protocol[:12]}…) than the champion "
            f"({champion.protocol[:12]}…)"
        )
    return ""


def _wins(candidate: Candidate, champion: Candidate, policy: PromotionParams) -> tuple[bool, str]:
    """Whether the metric of the policy is better by the required amount."""
    name = policy.metric
    mine, theirs = candidate.metrics[name], champion.metrics.get(name)
    if theirs is None or not theirs.finite:
        return True, f"{name} {mine}, and the champion has no finite one"
    gain = -_worsening(name, mine, theirs)
    against = f"{name} {mine} against {theirs}"
    if gain <= 0:
        return False, f"{against}: {'worse by ' + _number(-gain) if gain < 0 else 'not better'}"
    margin = policy.margin * abs(theirs.mean)
    if policy.spread and (mine.spread is None or theirs.spread is None):
        return False, (
            f"{against}: better by {_number(gain)}, but its spread over seed ranges is not known "
            "(promotion.spread: 0 in params.yaml ignores it)"
        )
    noise = policy.spread * math.hypot(mine.spread or 0.0, theirs.spread or 0.0)
    needed = f"{_number(max(margin, noise))} is required (margin {_number(margin)}, spread {_number(noise)})"
    wins = gain >= margin and gain >= noise
    return wins, f"{against}: better by {_number(gain)}, {'and' if wins else 'but'} {needed}"


def _holds(candidate: Candidate, champion: Candidate, name: str, share: float) -> tuple[bool, str]:
    """Whether another metric is worse by no more than the tolerance."""
    mine, theirs = candidate.metrics[name], champion.metrics.get(name)
    if theirs is None or not theirs.finite:
        return True, f"{name} {mine}, and the champion has no finite one"
    loss, allowed = _worsening(name, mine, theirs), share * abs(theirs.mean)
    against = f"{name} {mine} against {theirs}"
    if loss <= 0:
        return True, f"{against}: not worse"
    return loss <= allowed, f"{against}: worse by {_number(loss)}, and {_number(allowed)} is tolerated"


def _worsening(name: str, mine: MetricValue, theirs: MetricValue) -> float:
    """Amount by which ``mine`` is worse than ``theirs``; negative if it is better."""
    change = mine.mean - theirs.mean
    return -change if METRIC_INFO[name].higher_is_better else change


def _number(value: float) -> str:
    return f"{value:.3g}"
