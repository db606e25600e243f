"""The Fréchet distance between two Gaussians, from factors of their covariances."""

from __future__ import annotations

import numpy as np

TINY = 1e-6  # share of the traces below which their difference has too few digits


def factor(covariance: np.ndarray) -> np.ndarray:
    """B [F, F] with B Bᵀ = ``covariance`` [F, F], float64; directions without variance are exact zeros.

    Variances below F times the rounding error of the largest one count as zero.
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    smallest = len(values) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    return vectors * np.sqrt(np.where(values > smallest, values, 0.0))


def distance(mu1: np.ndarray, factor1: np.ndarray, mu2: np.ndarray, factor2: np.ndarray) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) for Σ = B Bᵀ; never negative.

    The trace of the root is the sum of the singular values of B₁ᵀ B₂, which are the roots of the eigenvalues
    of the symmetric Σ₁^½ Σ₂ Σ₁^½. No eigenvalue is squared and rooted again, so that zeros stay as small as
    the rounding error itself. If little remains of the traces, the distance is computed from the factors,
    rotated as close to each other as possible, without a difference of large numbers.
    """
    shift = float(((mu1 - mu2) ** 2).sum())
    total = float((factor1**2).sum() + (factor2**2).sum())
    product = factor1.T @ factor2
    spread = total - 2 * float(np.linalg.svd(product, compute_uv=False).sum())
    if spread < TINY * total:
        left, _, right = np.linalg.svd(product)
        spread = float(((factor1 @ left - factor2 @ right.T) ** 2).sum())
    return shift + spread
