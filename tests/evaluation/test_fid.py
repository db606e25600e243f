"""The Fréchet distance: torch-fidelity's where that works, exact where it loses digits."""

from __future__ import annotations

import numpy as np
import pytest

from adasde.evaluation.features import fidelity
from adasde.evaluation.fid import distance, factor


def theirs(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    module = fidelity().metric_fid
    first, second = {"mu": mu1, "sigma": sigma1}, {"mu": mu2, "sigma": sigma2}
    return module.fid_statistics_to_metric(first, second, False)[module.KEY_METRIC_FID]


def ours(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    return distance(mu1, factor(sigma1), mu2, factor(sigma2))


def moments(count: int, units: int, *, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count, units)) @ generator.normal(size=(units, units)) * scale
    return mixed.mean(axis=0), np.cov(mixed, rowvar=False)


@pytest.mark.parametrize(("count", "units"), [(500, 3), (2000, 64), (1000, 256), (40, 64), (100, 256)])
def test_it_is_torch_fidelity_s(count: int, units: int) -> None:
    """The last two have fewer images than units: covariances of low rank."""
    left, right = moments(count, units, seed=1), moments(count + 7, units, seed=2, scale=1.3)
    assert ours(*left, *right) == pytest.approx(theirs(*left, *right), rel=1e-6)
    assert ours(*left, *right) == pytest.approx(ours(*right, *left), rel=1e-12)


def test_commuting_covariances_have_a_closed_form_of_any_rank() -> None:
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]
    first, second = np.zeros(64), np.zeros(64)
    first[:20], second[10:30] = np.linspace(1, 9, 20), np.linspace(4, 1, 20)
    sigmas = [basis @ np.diag(values) @ basis.T for values in (first, second)]
    exact = ((np.sqrt(first) - np.sqrt(second)) ** 2).sum() + 64.0
    assert ours(np.zeros(64), sigmas[0], np.ones(64), sigmas[1]) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("step", [1e-3, 1e-5, 1e-7, 1e-9])
def test_tiny_differences_keep_their_digits(step: float) -> None:
    """Σ₂ = (1 + step)² Σ₁ is step² tr Σ₁ away, far less than the rounding of the traces in the end."""
    mu, sigma = moments(400, 32, seed=3)
    found = ours(mu, sigma, mu, sigma * (1 + step) ** 2)
    assert found == pytest.approx(step**2 * np.trace(sigma), rel=max(1e-6, 1e-12 / step))


@pytest.mark.parametrize("count", [20, 400])
def test_nothing_is_less_than_zero_away(count: int) -> None:
    mu, sigma = moments(count, 64, seed=4)
    assert 0 <= ours(mu, sigma, mu, sigma) < 1e-20 * np.trace(sigma)
    assert ours(mu, 0 * sigma, mu, 0 * sigma) == 0


def test_a_point_is_as_far_as_the_variance() -> None:
    mu, sigma = moments(400, 16, seed=5)
    assert ours(mu, sigma, mu + 1, 0 * sigma) == pytest.approx(np.trace(sigma) + 16)
