"""Whether a candidate becomes champion: a pure function of the numbers of both and the policy.

The policy is the section ``promotion`` of params.yaml. A candidate wins if its ``metric`` is better than the
champion's by ``margin`` (a share of the champion's) and by ``spread`` combined standard deviations over the
seed ranges, and no metric of ``tolerance`` is worse than the champion's by more than the share given there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adasde.config.metrics import METRIC_INFO
from adasde.config.sections import PromotionParams
from adasde.errors import DataError


@dataclass(frozen=True)
class Measured:
    """A metric: its mean over the seed ranges, their standard deviation and values where they are known."""

    mean: float
    spread: float | None = None
    values: tuple[float, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether all its numbers are."""
        return all(math.isfinite(number) for number in (self.mean, self.spread or 0.0, *self.values))

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if self.spread is None else f" ± {self.spread:.2g}")


@dataclass(frozen=True)
class Candidate:
    """What the decision knows of a candidate, or of the champion.

    Attributes:
        version: the registered version.
        sha256: of the coefficient file.
        weights: SHA-256 of the checkpoint that it was distilled for; empty if it is not known.
        protocol: hash of the evaluation protocol behind ``metrics``.
        metrics: by name.
        rejected: it was champion, and was rolled back.
    """

    version: str
    sha256: str
    weights: str
    protocol: str
    metrics: Mapping[str, Measured]
    rejected: bool = False


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why, in sentences."""

    promote: bool
    reasons: tuple[str, ...]


def decide(candidate: Candidate, champion: Candidate | None, policy: PromotionParams) -> Decision:
    """Whether ``candidate`` is to replace ``champion`` (None: there is none yet)."""
    if champion is not None and same(candidate, champion):
        return Decision(False, ("it has the champion's very coefficients: there is nothing to do",))
    if flaws := _flaws(candidate, policy):
        return Decision(False, flaws)
    if candidate.rejected:
        return Decision(False, ("it was champion and was rolled back; --force brings it back",))
    if champion is None:
        return Decision(True, (f"there is no champion yet, and {_shown(candidate, policy)} is measured",))
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
    """Whether it is known that both were distilled for different checkpoints."""
    return bool(candidate.weights and champion.weights) and candidate.weights != champion.weights


def read_row(row: Any) -> dict[str, Measured]:
    """The metrics of a row of a metrics file: plain numbers, or ``{"mean", "spread", "values"}``.

    Raises:
        DataError: it is no such row.
    """
    try:
        return {name: _measured(row[name]) for name in METRIC_INFO if name in row}
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"this is no row of metrics: {error!r}.") from error


def _measured(value: Any) -> Measured:
    if not isinstance(value, Mapping):
        return Measured(float(value))
    values = tuple(float(one) for one in value.get("values", ()))
    # one seed range says nothing about the spread, whatever number was written
    spread = None if len(values) == 1 else float(value["spread"])
    return Measured(float(value["mean"]), spread, values)


def _flaws(candidate: Candidate, policy: PromotionParams) -> tuple[str, ...]:
    """What of the candidate's numbers cannot be used."""
    wanted = dict.fromkeys((policy.metric, *policy.tolerance, *candidate.metrics))
    missing = [name for name in wanted if name not in candidate.metrics]
    broken = [name for name in wanted if name in candidate.metrics and not candidate.metrics[name].finite]
    lines = [f"its {name} was not measured" for name in missing]
    return tuple(lines + [f"its {name} is not finite ({candidate.metrics[name]})" for name in broken])


def _shown(candidate: Candidate, policy: PromotionParams) -> str:
    return f"{policy.metric} {candidate.metrics[policy.metric]}"


def _obstacle(candidate: Candidate, champion: Candidate) -> str:
    """Why the numbers of both cannot be compared; empty if they can."""
    if other_weights(candidate, champion):
        return (
            f"it was distilled for other weights (sha256 {candidate.weights[:12]}…) than the champion "
            f"({champion.weights[:12]}…), so whoever uses the champion's could not use it"
        )
    if not comparable(candidate, champion):
        return (
            f"it was measured under another protocol ({candidate.protocol[:12]}…) than the champion "
            f"({champion.protocol[:12]}…)"
        )
    return ""


def _wins(candidate: Candidate, champion: Candidate, policy: PromotionParams) -> tuple[bool, str]:
    """Whether the metric of the policy is better by as much as it asks for."""
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
            "(promotion.spread: 0 in params.yaml does without)"
        )
    noise = policy.spread * math.hypot(mine.spread or 0.0, theirs.spread or 0.0)
    asked = f"{_number(max(margin, noise))} is asked for (margin {_number(margin)}, spread {_number(noise)})"
    wins = gain >= margin and gain >= noise
    return wins, f"{against}: better by {_number(gain)}, {'and' if wins else 'but'} {asked}"


def _holds(candidate: Candidate, champion: Candidate, name: str, share: float) -> tuple[bool, str]:
    """Whether another metric is not worse than is tolerated."""
    mine, theirs = candidate.metrics[name], champion.metrics.get(name)
    if theirs is None or not theirs.finite:
        return True, f"{name} {mine}, and the champion has no finite one"
    loss, allowed = _worsening(name, mine, theirs), share * abs(theirs.mean)
    against = f"{name} {mine} against {theirs}"
    if loss <= 0:
        return True, f"{against}: not worse"
    return loss <= allowed, f"{against}: worse by {_number(loss)}, and {_number(allowed)} is tolerated"


def _worsening(name: str, mine: Measured, theirs: Measured) -> float:
    """By how much ``mine`` is worse than ``theirs``; negative where it is better."""
    change = mine.mean - theirs.mean
    return -change if METRIC_INFO[name].higher_is_better else change


def _number(value: float) -> str:
    return f"{value:.3g}"
