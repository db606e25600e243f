"""Metrics of features: FID, and torch-fidelity's KID, precision, recall and Inception score.

Features are computed once per set of images, in float64 from uint8 images, and shared by all metrics. The
first argument is always the generated set, the second the real one.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adasde.errors import DataError
from adasde.evaluation.features import fidelity
from adasde.evaluation.fid import distance, factor
from adasde.types import FeatureExtractor
from adasde.utils.atomic_io import atomic, sha256_file
from adasde.utils.pixels import to_float

KID_SEED = 2020  # torch-fidelity's default


@dataclass(frozen=True)
class Statistics:
    """Mean [F] and covariance [F, F] of features, float64, which FID compares."""

    mu: np.ndarray
    sigma: np.ndarray

    @classmethod
    def of(cls, features: Tensor) -> Statistics:
        """Statistics of ``features`` [n, F].

        Raises:
            DataError: fewer than two images, or values that are not finite.
        """
        values = _checked(features, 2, "FID").numpy()
        return cls(values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False)))

    @cached_property
    def factor(self) -> np.ndarray:
        """B [F, F] with B Bᵀ = sigma, computed once (seconds for thousands of features)."""
        return factor(self.sigma)

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write EDM's ``.npz`` (``mu`` and ``sigma``; equal values, equal bytes); return its sha256.

        Raises:
            DataError: the file cannot be written.
        """
        with atomic(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, mu=self.mu, sigma=self.sigma)
        return sha256_file(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, sha256: str | None = None) -> Statistics:
        """Read EDM's ``.npz``.

        Raises:
            DataError: missing, unreadable, of wrong shapes, not finite, or not the file of ``sha256``.
        """
        try:
            found = sha256_file(path)
            with np.load(path, allow_pickle=False) as arrays:
                mu, sigma = (np.asarray(arrays[name], dtype=np.float64) for name in ("mu", "sigma"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise _bad_reference(path, str(error)) from error
        if sha256 is not None and found != sha256:
            raise _bad_reference(path, f"its sha256 is {found[:12]}…, expected {sha256[:12]}…")
        if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
            raise _bad_reference(path, f"mu has the shape {mu.shape} and sigma {sigma.shape}")
        if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
            raise _bad_reference(path, "it holds values that are not finite")
        return cls(mu, sigma)


def _bad_reference(path: str | os.PathLike[str], reason: str) -> DataError:
    if not Path(path).exists():
        reason = "there is no such file"
    return DataError(
        f"the reference statistics {path} cannot be used: {reason}. Make them again with 'adasde reference', "
        "or give an .npz with mu [F] and sigma [F, F]."
    )


def _checked(features: Tensor, at_least: int, metric: str) -> Tensor:
    if features.ndim != 2:
        raise DataError(f"{metric} takes features [images, units]; got the shape {list(features.shape)}.")
    if len(features) < at_least:
        raise DataError(
            f"{metric} needs at least {at_least} images; got {len(features)}. Sample more images."
        )
    if not bool(features.isfinite().all()):
        count = int((~features.isfinite()).any(dim=1).sum())
        raise DataError(f"{metric}: the features of {count} of {len(features)} images are not finite.")
    return features.detach().double().cpu()


@torch.no_grad()
def image_features(images: Tensor, extractor: FeatureExtractor, *, batch: int = 1000) -> Tensor:
    """Features [n, F] float64 (on the CPU) of uint8 images [n, C, H, W].

    Raises:
        DataError: no images, or not uint8 images.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise DataError(
            f"metrics take uint8 images [n, C, H, W] (see to_uint8); got {images.dtype} {list(images.shape)}."
        )
    if not len(images):
        raise DataError("the set of images is empty; sample at least one image.")
    return torch.cat([extractor(to_float(part)).double().cpu() for part in images.split(batch)])


def _pair(generated: Tensor, reference: Tensor, at_least: int, metric: str) -> tuple[Tensor, Tensor]:
    left, right = (_checked(one, at_least, metric) for one in (generated, reference))
    if left.shape[1] != right.shape[1]:
        raise _other_extractor(metric, left.shape[1], right.shape[1])
    return left, right


def _other_extractor(metric: str, left: int, right: int) -> DataError:
    return DataError(
        f"{metric} compares {left} with {right} feature units: the reference is of another feature "
        "extractor. Make both with the same one."
    )


def fid(generated: Tensor | Statistics, reference: Tensor | Statistics) -> float:
    """Fréchet distance between two sets of features [n, F], or their statistics, in float64.

    Raises:
        DataError: too few images, values that are not finite, or different numbers of units.
    """
    left, right = (
        one if isinstance(one, Statistics) else Statistics.of(one) for one in (generated, reference)
    )
    if left.mu.shape != right.mu.shape:
        raise _other_extractor("FID", len(left.mu), len(right.mu))
    return distance(left.mu, left.factor, right.mu, right.factor)


def kid(generated: Tensor, reference: Tensor, *, subsets: int = 100, subset_size: int = 1000) -> float:
    """Kernel distance (cubic polynomial), averaged over seeded random subsets of both sets of features.

    Raises:
        DataError: a set smaller than ``subset_size``, or values that are not finite.
    """
    left, right = _pair(generated, reference, subset_size, "KID")
    module = fidelity().metric_kid
    result = module.kid_features_to_metric(
        left, right, kid_subsets=subsets, kid_subset_size=subset_size, rng_seed=KID_SEED, verbose=False
    )
    return result[module.KEY_METRIC_KID_MEAN]


def precision_recall(generated: Tensor, reference: Tensor, *, neighbourhood: int = 3) -> tuple[float, float]:
    """Shares of generated images inside the real manifold, and of real ones inside the generated manifold.

    Raises:
        DataError: a set not larger than ``neighbourhood``, or values that are not finite.
    """
    left, right = _pair(generated, reference, neighbourhood + 1, "precision and recall")
    module = fidelity().metric_prc
    result = module.prc_features_to_metric(
        left, right, prc_neighborhood=neighbourhood, prc_batch_size=1000, save_cpu_ram=True, verbose=False
    )
    return result[module.KEY_METRIC_PRECISION], result[module.KEY_METRIC_RECALL]


def inception_score(scores: Tensor, *, splits: int = 10) -> float:
    """exp of the mean KL divergence of each image's classes from those of all, averaged over ``splits``.

    ``scores`` are logits [n, classes], shuffled with a fixed seed.

    Raises:
        DataError: fewer images than ``splits``, or values that are not finite.
    """
    values = _checked(scores, splits, "the Inception score")
    module = fidelity().metric_isc
    result = module.isc_features_to_metric(values, splits, shuffle=True, rng_seed=KID_SEED)
    return result[module.KEY_METRIC_ISC_MEAN]
