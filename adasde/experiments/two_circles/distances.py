"""Exact Wasserstein-1 distances between clouds of equally many points, and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def assignment_distance(a: np.ndarray, b: np.ndarray) -> float:
    """W1 of two clouds [n, d] with the Euclidean cost: the mean distance under the best pairing.

    Exact: between two clouds of n equal weights an optimal plan is a permutation, and SciPy's
    ``linear_sum_assignment`` finds it in O(n^3); 700 points take about 0.1 s.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(a, b)
    return float(cost[linear_sum_assignment(cost)].mean())


def line_distance(a: np.ndarray, b: np.ndarray) -> float:
    """W1 of two clouds [n] on the line: the mean distance of their sorted points."""
    return float(np.abs(np.sort(a) - np.sort(b)).mean())


@dataclass(frozen=True)
class Estimate:
    """A mean and the confidence interval around it."""

    mean: float
    low: float
    high: float


def estimate(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of independent ``values`` (two or more) with Student's interval of that confidence."""
    from scipy.stats import t

    array = np.asarray(values, dtype=float)
    mean, count = float(array.mean()), len(array)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * float(array.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)
