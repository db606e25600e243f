"""Names, labels and directions of the metrics, for params.yaml, promotion, sweeps, report and bench.

They are defined here, below ``adasde.evaluation`` that computes them, because params.yaml names metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class MetricInfo:
    """How a metric is called in tables, and which of two values is the better one."""

    label: str
    higher_is_better: bool = False


METRIC_INFO = {
    "fid": MetricInfo("FID"),
    "kid": MetricInfo("KID"),
    "precision": MetricInfo("precision", higher_is_better=True),
    "recall": MetricInfo("recall", higher_is_better=True),
    "inception_score": MetricInfo("Inception score", higher_is_better=True),
    "clip_score": MetricInfo("CLIP score", higher_is_better=True),
    "fd_dinov2": MetricInfo("FD-DINOv2"),
}

if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal[tuple(METRIC_INFO)]
