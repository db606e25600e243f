"""The Fréchet distance between two Gaussians, from factors of their covariances."""

from __future__ import annotations

import numpy as np

TINY = 1e-6  # share of the traces below which differences of traces have lost their digits


def factor(covariance: np.ndarray) -> np.ndarray:
    """B [F, F] with B Bᵀ = ``covariance`` [F, F], float64; directions without variance are exact zeros.

    Zero is what double precision cannot tell from it: less than F times its rounding of the largest variance.
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    smallest = len(values) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    return vectors * np.sqrt(np.where(values > smallest, values, 0.0))


def distance(mu1: np.ndarray, factor1: np.ndarray, mu2: np.ndarray, factor2: np.ndarray) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) for Σ = B Bᵀ; never negative.

    The trace of the root is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric, and
    these roots are the singular values of B₁ᵀ B₂: no eigenvalue is squared and rooted again, so that a zero
    stays as small as rounding itself and not as its root. Where little remains of the traces, the rotation
    that brings the factors nearest to each other gives their distance without a difference of large numbers.
    """
    shift = float(((mu1 - mu2) ** 2).sum())
    total = float((factor1**2).sum() + (factor2**2).sum())
    product = factor1.T @ factor2
    spread = total - 2 * float(np.linalg.svd(product, compute_uv=False).sum())
    if spread < TINY * total:
        left, _, right = np.linalg.svd(product)
        spread = float(((factor1 @ left - factor2 @ right.T) ** 2).sum())
    return shift + spread
