"""Rotation-invariant laws in the plane, by their radius: injection, maps, and distances without sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from adasde.experiments.two_circles.circles import Circles
from adasde.types import Denoiser

REACH = 6.0
"""Standard deviations beyond the outer circle at which laws end; 2e-8 of a Gaussian lies beyond."""

MARGIN = 2.0
"""Room beyond, for what samplers get wrong."""


@dataclass(frozen=True)
class RadialLaw:
    """Law of |x| with density constant between ``edges``; the angle is uniform and independent.

    Attributes:
        edges: [K+1] ascending radii.
        mass: [K] probabilities of the bins, their sum 1.
    """

    edges: np.ndarray
    mass: np.ndarray

    @property
    def radius(self) -> float:
        """Radius that no point exceeds."""
        return float(self.edges[-1])

    @property
    def cumulative(self) -> np.ndarray:
        """Distribution function at ``edges``, [K+1]."""
        return np.concatenate([[0.0], self.mass.cumsum()])

    def total_variation(self, other: RadialLaw) -> float:
        """Total variation distance in the plane, in [0, 1]; both laws on the same edges.

        The radius is a sufficient statistic of rotation-invariant laws, so that of the radii is the same.
        """
        return 0.5 * float(np.abs(self.mass - other.mass).sum())

    def wasserstein(self, other: RadialLaw) -> float:
        """W1 in the plane, that of the radii; both laws on the same edges."""
        return float(np.trapezoid(np.abs(self.cumulative - other.cumulative), self.edges))

    def pushed(self, radii: np.ndarray, edges: np.ndarray) -> RadialLaw:
        """Law of F(x) on ``edges`` for a radial map with ``radii`` = |F| at the present edges.

        The mass of a bin spreads evenly between the images of its ends; the last edge takes what lies beyond.
        """
        low, high = np.minimum(radii[:-1], radii[1:]), np.maximum(radii[:-1], radii[1:])
        high = np.maximum(high, low + 1e-12)
        height = self.mass / (high - low)
        place = np.concatenate([low, high])
        order = place.argsort(kind="stable")
        place, slope = place[order], np.concatenate([height, -height])[order].cumsum()
        reached = np.concatenate([[0.0], (slope[:-1] * np.diff(place)).cumsum()])
        cumulative = np.interp(edges, place, reached, left=0.0, right=reached[-1])
        return RadialLaw(edges, _normal(np.diff(np.append(cumulative[:-1], reached[-1]))))

    def injected(self, scale: float, edges: np.ndarray) -> RadialLaw:
        """Law of |x + scale * noise|, noise ~ N(0, I), on ``edges``: a Markov kernel of the radius."""
        if scale == 0:
            return self.pushed(self.edges, edges)
        return RadialLaw(edges, _normal(self.mass @ rice(_middle(self.edges), scale, edges)))


def rice(radii: np.ndarray, scale: float, edges: np.ndarray) -> np.ndarray:
    """Probabilities [R, K] of |x + scale * noise| between ``edges`` for |x| = ``radii``: rows sum to 1.

    The density at y is y / s^2 exp(-(y - r)^2 / 2 s^2) i0e(r y / s^2), here at the middle of the bins. With
    a ``scale`` far below the bins' width, the mass stays where it is.
    """
    y, r = _middle(edges)[None], radii[:, None]
    bessel = torch.special.i0e(torch.from_numpy(r * y / scale**2)).numpy()
    rows = y * np.exp(-((y - r) ** 2) / (2 * scale**2)) * bessel * np.diff(edges)
    lost = rows.sum(1) <= 0
    rows[lost, np.clip(np.searchsorted(edges, radii[lost]) - 1, 0, len(edges) - 2)] = 1
    return np.asarray(rows / rows.sum(1, keepdims=True))


def level_edges(circles: Circles, sigma: float, bins: int) -> np.ndarray:
    """Edges [bins+1] that hold the noisy data at level ``sigma`` and samples near them."""
    reach = REACH * float(np.hypot(circles.noise, sigma))
    return np.linspace(0, max(circles.radii) + reach + MARGIN, bins + 1)


def exact_law(circles: Circles, sigma: float, edges: np.ndarray) -> RadialLaw:
    """The law of the data at noise level ``sigma``."""
    return RadialLaw(edges, _normal(np.diff(np.interp(edges, *circles.radius_law(sigma)))))


def gaussian_law(sigma: float, edges: np.ndarray) -> RadialLaw:
    """N(0, sigma^2 I), with which a sampler starts."""
    return RadialLaw(edges, _normal(np.diff(-np.expm1(-(edges**2) / (2 * sigma**2)))))


@dataclass(frozen=True)
class Averaged:
    """A denoiser averaged over rotations and reflections, x / r mean_k <D(r u_k), u_k> at r = |x|.

    It commutes with rotations, as the exact one does, so that every law it makes is rotation invariant and
    its distances are those of the radius. Its error is the network's, without that of the angle.
    """

    denoise: Denoiser
    angles: int = 16

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D of ``x`` [B, 2] at the scalar ``sigma``."""
        r = x.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        units = directions(self.angles).to(x)
        points = (r[:, None] * units).reshape(-1, 2)
        found = self.denoise(points, sigma).reshape(len(x), self.angles, 2)
        return (found * units).sum(2).mean(1, keepdim=True) * x / r


@lru_cache
def directions(count: int) -> Tensor:
    """Unit vectors [count, 2] at equal angles."""
    angle = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@torch.no_grad()
def along_axis(field: Callable[[Tensor], Tensor], radii: np.ndarray) -> np.ndarray:
    """Signed radii to which a radial ``field`` sends the points (r, 0)."""
    x = torch.from_numpy(np.stack([radii, np.zeros_like(radii)], axis=1))
    return field(x)[:, 0].numpy()


def _middle(edges: np.ndarray) -> np.ndarray:
    return (edges[:-1] + edges[1:]) / 2


def _normal(mass: np.ndarray) -> np.ndarray:
    kept = np.maximum(mass, 0)
    return np.asarray(kept / kept.sum())
