"""The evaluation protocol, and the metrics of one row of images under it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.config.params import Params
from adasde.errors import DataError
from adasde.evaluation.features import extractor_of
from adasde.evaluation.metrics import Statistics, image_features
from adasde.evaluation.registry import ImageMetric, MetricInputs, image_metrics, measure
from adasde.models.core.checkpoint import Card, find, read_card
from adasde.types import FeatureExtractor
from adasde.utils.atomic_io import sha256_file, sha256_json
from adasde.utils.safetensors_io import load_images

STATISTICS = "statistics.npz"
REAL = "images.safetensors"
FLOOR = "floor.safetensors"


@dataclass(frozen=True)
class Protocol:
    """All that a number depends on besides model and sampler; numbers with equal hashes compare."""

    images: int  # per seed range
    first_seeds: tuple[int, ...]  # of the disjoint ranges
    class_policy: str
    extractor: str
    extractor_sha256: str
    reference_sha256: str
    kid_subsets: int
    kid_subset_size: int
    neighbourhood: int
    judges: dict[str, str] = field(default_factory=dict)  # metric -> description of its network

    def document(self) -> dict[str, Any]:
        """The protocol as a JSON value, without ``judges`` if there are none."""
        return {name: value for name, value in asdict(self).items() if name != "judges" or value}

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the protocol's JSON."""
        return sha256_json(self.document())


@dataclass(frozen=True)
class Evaluator:
    """The metrics of rows of images under one protocol; its networks and references are loaded once.

    Attributes:
        real: features of the real images; None if only their statistics (``reference``) are known.
        image_metrics: metrics with networks of their own, by name.
    """

    params: Params
    extractor: FeatureExtractor
    real: Tensor | None
    reference: Statistics
    image_metrics: Mapping[str, ImageMetric]
    protocol: Protocol

    @classmethod
    def load(cls, params: Params, *, checkpoint: Path, folder: Path) -> Evaluator:
        """The evaluator of ``params``; ``folder`` holds the output of the stage ``reference``.

        Raises:
            CheckpointError: the extractor cannot be loaded.
            DataError: the reference is missing or damaged.
        """
        extractor = extractor_of(checkpoint)
        known = (folder / REAL).exists()
        real = image_features(load_images(folder / REAL), extractor) if known else None
        reference = Statistics.load(folder / STATISTICS)
        sample, settings = params.sample, params.evaluate
        others = image_metrics(find(checkpoint), folder, classes=sample.classes)
        protocol = Protocol(
            images=sample.images,
            first_seeds=tuple(sample.seeds[:: sample.images]),
            class_policy=policy_of(read_card(find(checkpoint)), sample.classes),
            extractor=extractor.name,
            extractor_sha256=extractor.sha256,
            reference_sha256=sha256_file(folder / STATISTICS),
            kid_subsets=settings.kid_subsets,
            kid_subset_size=settings.kid_subset_size,
            neighbourhood=settings.neighbourhood,
            judges={name: metric.description for name, metric in others.items()},
        )
        return cls(params, extractor, real, reference, others, protocol)

    def row(self, images: Tensor, *, nfe: int) -> dict[str, Any]:
        """The metrics of uint8 images [ranges * images, C, H, W], see ``evaluation.registry``.

        ``fid`` has the mean, the standard deviation (``spread``, None for one range) and the values over the
        seed ranges; the other metrics are means over the ranges.

        Raises:
            DataError: another number of images than the protocol's, or metrics that cannot be computed.
        """
        sample = self.params.sample
        if len(images) != sample.count:
            raise DataError(f"the protocol wants {sample.count} images, got {len(images)}: sample again.")
        features, size = image_features(images, self.extractor), sample.images
        seeds = [sample.seeds[start : start + size] for start in range(0, sample.count, size)]
        ranges = zip(features.split(size), images.split(size), seeds, strict=True)
        measured = [measure(self._inputs(*one)) for one in ranges]
        values = [entry["fid"] for entry in measured]
        spread = statistics.stdev(values) if len(values) > 1 else None
        means = {name: statistics.fmean(entry[name] for entry in measured) for name in measured[0]}
        return means | {"fid": {"mean": means["fid"], "spread": spread, "values": values}, "nfe": nfe}

    def _inputs(self, features: Tensor, images: Tensor, seeds: Sequence[int]) -> MetricInputs:
        """One seed range, and what its metrics compare it with."""
        scores = getattr(self.extractor, "scores", None)
        return MetricInputs(
            features,
            self.reference,
            self.real,
            logits=None if scores is None else scores(features),
            images=images,
            seeds=seeds,
            kid_subsets=self.protocol.kid_subsets,
            kid_subset_size=self.protocol.kid_subset_size,
            neighbourhood=self.protocol.neighbourhood,
            **self.image_metrics,
        )

    def document(self, rows: dict[str, Any]) -> dict[str, Any]:
        """A metrics file: the rows and their protocol."""
        protocol = {"protocol": self.protocol.document(), "protocol_hash": self.protocol.hash}
        return {"model": self.params.model, **protocol, "rows": rows}


def policy_of(card: Card, chosen: str) -> str:
    """How an image's class or prompt follows from its seed, in words; ``chosen`` as in params.yaml."""
    if card.prompts is None:
        return class_policy(card.classes, chosen)
    policy = class_policy(card.prompts.about["count"], chosen)
    return f"prompt: {policy}; prompts {card.prompts.sha256[:16]}"


def class_policy(classes: int, chosen: str) -> str:
    """How an image's class follows from its seed, in words; ``chosen`` as in params.yaml."""
    if not classes:
        return "none"
    return f"seed modulo {classes}" if chosen == "balanced" else f"of {classes}, drawn from the seed"
