"""The evaluation protocol applied to one row of images: FID per seed range, and the other metrics."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.config.params import Params
from adasde.config.sections import EvaluateParams
from adasde.errors import DataError
from adasde.evaluation.features import extractor_of
from adasde.evaluation.further import Further, further_of
from adasde.evaluation.metrics import Protocol, Statistics, evaluate, fid, image_features, inception_score
from adasde.models.checkpoint import Card, find, read_card
from adasde.types import FeatureExtractor
from adasde.utils.atomic_io import sha256_file
from adasde.utils.safetensors_io import load_images

STATISTICS = "statistics.npz"
REAL = "images.safetensors"
FLOOR = "floor.safetensors"


@dataclass(frozen=True)
class Evaluator:
    """Loaded once: the extractor, the real images' features (if there are) and moments, what judges beside
    them, and the protocol.
    """

    params: Params
    extractor: FeatureExtractor
    real: Tensor | None
    reference: Statistics
    further: list[Further]
    protocol: Protocol

    @classmethod
    def load(cls, params: Params, *, checkpoint: Path, folder: Path) -> Evaluator:
        """``folder`` holds what the stage ``reference`` wrote.

        Raises:
            CheckpointError: the extractor cannot be loaded.
            DataError: the reference is missing or damaged.
        """
        extractor = extractor_of(checkpoint)
        there = (folder / REAL).exists()
        real = image_features(load_images(folder / REAL), extractor) if there else None
        reference = Statistics.load(folder / STATISTICS)
        sample, settings = params.sample, params.evaluate
        further = further_of(find(checkpoint), folder, classes=sample.classes)
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
            judges={one.name: one.said for one in further},
        )
        return cls(params, extractor, real, reference, further, protocol)

    def row(self, images: Tensor, *, nfe: int) -> dict[str, Any]:
        """The numbers of uint8 images [ranges * images, C, H, W].

        ``fid`` has the mean, the standard deviation (``spread``) and the values over the seed ranges; the
        other metrics are means over the ranges. KID, precision and recall need real images, the Inception
        score an extractor that has one; the rest is what ``judges`` of params.yaml say.

        Raises:
            DataError: another number of images than the protocol's, or metrics that cannot be computed.
        """
        settings, sample = self.params.evaluate, self.params.sample
        if len(images) != sample.count:
            raise DataError(f"the protocol wants {sample.count} images, got {len(images)}: sample again.")
        features = image_features(images, self.extractor)
        measured = [
            self._numbers(part, settings) | {one.name: one(shown, seeds) for one in self.further}
            for part, shown, seeds in zip(
                features.split(sample.images), images.split(sample.images), _ranges(self.params), strict=True
            )
        ]
        values = [float(entry["fid"]) for entry in measured]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        others = {
            name: statistics.fmean(float(entry[name]) for entry in measured)
            for name in measured[0]
            if name != "fid"
        }
        return {
            "fid": {"mean": statistics.fmean(values), "spread": spread, "values": values},
            **others,
            "nfe": nfe,
        }

    def _numbers(self, features: Tensor, settings: EvaluateParams) -> dict[str, float]:
        """The metrics of one range: those that the reference and the extractor allow."""
        if self.real is None:
            numbers = {"fid": fid(features, self.reference)}
        else:
            numbers = evaluate(
                features,
                self.real,
                reference=self.reference,
                kid_subsets=settings.kid_subsets,
                kid_subset_size=settings.kid_subset_size,
                neighbourhood=settings.neighbourhood,
            )
        scores = getattr(self.extractor, "scores", None)
        return (
            numbers if scores is None else {**numbers, "inception_score": inception_score(scores(features))}
        )

    def document(self, rows: dict[str, Any]) -> dict[str, Any]:
        """A metrics file: the rows, and the protocol that they were measured under."""
        protocol = {"protocol": self.protocol.document(), "protocol_hash": self.protocol.hash}
        return {"model": self.params.model, **protocol, "rows": rows}


def _ranges(params: Params) -> list[range]:
    """The seeds of every range of images."""
    size, seeds = params.sample.images, params.sample.seeds
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def policy_of(card: Card, chosen: str) -> str:
    """Which class or prompt an image has, in words; ``chosen`` as in params.yaml."""
    if card.prompts is None:
        return class_policy(card.classes, chosen)
    policy = class_policy(card.prompts.about["count"], chosen)
    return f"prompt: {policy}; prompts {card.prompts.sha256[:16]}"


def class_policy(classes: int, chosen: str) -> str:
    """Which class an image has, in words (see ``models.conditional``); ``chosen`` as in params.yaml."""
    if not classes:
        return "none"
    return f"seed modulo {classes}" if chosen == "balanced" else f"of {classes}, drawn from the seed"
