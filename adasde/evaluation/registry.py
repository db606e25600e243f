"""The metrics of a set of images: what each needs, and how it is computed.

A new metric is an entry here, and its name and direction in ``adasde.config.metrics``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.config.metrics import METRIC_INFO, MetricName
from adasde.evaluation.clip_score import ClipScore, load_clip_score
from adasde.evaluation.fd_dinov2 import FdDinov2, load_fd_dinov2
from adasde.evaluation.metrics import Statistics, fid, inception_score, kid, precision_recall

ImageMetric = ClipScore | FdDinov2
"""A metric with a network of its own, of images and their seeds."""


@dataclass(frozen=True)
class MetricInputs:
    """Generated images of one seed range, and what their metrics compare them with (None: unknown).

    Attributes:
        features: of the images, [n, F] float64.
        reference: statistics of the real images' features.
        real: features of the real images, [m, F] float64.
        logits: of the Inception score, [n, classes].
        images, seeds: uint8 [n, C, H, W], and the seed of each; ``clip_score`` and ``fd_dinov2`` take them.
    """

    features: Tensor
    reference: Statistics
    real: Tensor | None = None
    logits: Tensor | None = None
    images: Tensor | None = None
    seeds: Sequence[int] = ()
    clip_score: ImageMetric | None = None
    fd_dinov2: ImageMetric | None = None
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    neighbourhood: int = 3

    @cached_property
    def precision_recall(self) -> tuple[float, float]:
        """Both at once, for they share the distances."""
        assert self.real is not None
        return precision_recall(self.features, self.real, neighbourhood=self.neighbourhood)


@dataclass(frozen=True)
class Metric:
    """``compute(inputs, inputs.needs)`` is the value; without what it ``needs`` a metric is left out."""

    name: MetricName
    needs: str
    compute: Callable[[MetricInputs, Any], float]

    @property
    def higher_is_better(self) -> bool:
        """Whether the higher of two values is the better one."""
        return METRIC_INFO[self.name].higher_is_better


def _kid(inputs: MetricInputs, real: Tensor) -> float:
    settings = {"subsets": inputs.kid_subsets, "subset_size": inputs.kid_subset_size}
    return kid(inputs.features, real, **settings)


def _of_images(inputs: MetricInputs, metric: ImageMetric) -> float:
    assert inputs.images is not None
    return metric(inputs.images, inputs.seeds)


METRICS = (
    Metric("fid", "reference", lambda inputs, reference: fid(inputs.features, reference)),
    Metric("kid", "real", _kid),
    Metric("precision", "real", lambda inputs, _: inputs.precision_recall[0]),
    Metric("recall", "real", lambda inputs, _: inputs.precision_recall[1]),
    Metric("inception_score", "logits", lambda _, logits: inception_score(logits)),
    Metric("clip_score", "clip_score", _of_images),
    Metric("fd_dinov2", "fd_dinov2", _of_images),
)


def measure(inputs: MetricInputs) -> dict[str, float]:
    """Metric name -> value, of all metrics whose needs are met.

    Raises:
        DataError: a metric cannot be computed of these images.
    """
    return {
        metric.name: float(metric.compute(inputs, needed))
        for metric in METRICS
        if (needed := getattr(inputs, metric.needs)) is not None
    }


def image_metrics(checkpoint: Path, folder: Path, *, classes: str) -> dict[str, ImageMetric]:
    """Metric name -> the metric that ``judges`` of params.yaml asks for beside the extractor's.

    ``folder`` holds the output of the stage ``reference``; ``classes`` as in params.yaml.

    Raises:
        CheckpointError: a network cannot be loaded, or there are no prompts.
        DataError: there are no statistics of DINOv2 in ``folder``.
    """
    clip, dinov2 = load_clip_score(checkpoint, classes=classes), load_fd_dinov2(checkpoint, folder)
    return {name: one for name, one in (("clip_score", clip), ("fd_dinov2", dinov2)) if one is not None}
