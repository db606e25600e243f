"""Right-hand sides of the error bounds (2510.23285, Theorems 1 to 3; 2306.14878, Theorem 3), as functions.

A step goes from the level ``t`` to ``s``; noise raises it first to ``t_hat`` = (1 + gamma) t. The paper's
Section 4 writes t + Delta t for t, t for s and t + (1 + gamma) Delta t for ``t_hat``, so that its gamma is
ours times t / (t - s); its Algorithm 2 has ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Constants:
    """Constants of the assumptions A1 to A3 over one step.

    Attributes:
        diameter: B; no state is farther than B / 2 from the origin.
        slope: L2, Lipschitz constant in x of the learned drift d(x, t) = (x - D(x, t)) / t = -t s(x, t).
        height: L1, largest |d|.
        change: L0, Lipschitz constant of d in t.
        error: epsilon, largest distance of the learned drift from the exact one.
    """

    diameter: float
    slope: float
    height: float
    change: float
    error: float


def injected_scale(t: float, t_hat: float) -> float:
    """Standard deviation of the noise between the levels ``t`` and ``t_hat``."""
    return math.sqrt(max(0.0, t_hat**2 - t**2))


def merging(diameter: float, scale: float) -> float:
    """lambda = 2 Q(B / 2 scale), Q the Gaussian tail: the share that noise of ``scale`` can merge, in [0, 1].

    1 - lambda is the total variation distance of two points at distance B after the same noise (Lemma 2), so
    that no pair of laws within the diameter B keeps more than this share of its own (Lemma 3).
    """
    return math.erfc(diameter / (2 * math.sqrt(2) * scale)) if scale > 0 else 0.0


def log10_merging(diameter: float, scale: float) -> float:
    """log10 of ``merging``, also where that underflows; -inf without noise."""
    from scipy.stats import norm

    if scale <= 0:
        return -math.inf
    return float(norm.logsf(diameter / (2 * scale)) + math.log(2)) / math.log(10)


def printed_scale(t_hat: float, s: float) -> float:
    """Standard deviation in lambda as the paper prints it (Appendix A.6): of the noise from s, not from t.

    In Restart (2306.14878) noise does lead from s to ``t_hat``. AdaSDE's starts at t, so that this is too
    much: without noise, at gamma = 0, it still has lambda > 0. The bounds here use ``injected_scale``.
    """
    return injected_scale(s, t_hat)


def gradient_bound(known: Constants, total_variation: float, scale: float = 0.0) -> float:
    """First term of the bounds, B (1 - lambda) TV: the error that a step takes over, as W1.

    Args:
        total_variation: between the generated and the true law *before* the noise.
        scale: of the injected noise; 0 gives Theorem 1's.
    """
    return known.diameter * (1 - merging(known.diameter, scale)) * total_variation


def log10_discretisation_bound(known: Constants, length: float) -> float:
    """log10 of the second term, e^(L2 h) (h (L2 L1 + L0) + epsilon) h, of an Euler step of ``length`` h.

    h = t - s in Theorem 1 and ``t_hat`` - s in Theorem 2.
    """
    local = length * (known.slope * known.height + known.change) + known.error
    return known.slope * length / math.log(10) + math.log10(local * length)
