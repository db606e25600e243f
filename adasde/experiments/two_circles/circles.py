"""Two concentric circles with Gaussian noise: data, exact denoiser, exact flow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adasde.sampling.solvers import History, Interval, Solver, Step
from adasde.types import Denoiser


@dataclass(frozen=True)
class Circles:
    """Points in the plane: a circle of ``radii`` (each as likely), a uniform angle, N(0, noise^2 I) added.

    A call is the exact denoiser. With v = noise^2 + sigma^2 and r = |x|, the angle integrates to Bessel
    functions, so that nothing is discretised (I0, I1; i0e, i1e are theirs without the factor e^z):

        p(x; sigma) = sum_k 1/K exp(-(r - R_k)^2 / 2v) i0e(r R_k / v) / (2 pi v)
        E[centre | x] = x / r * sum_k posterior_k R_k I1(r R_k / v) / I0(r R_k / v)
        D(x, sigma) = (noise^2 x + sigma^2 E[centre | x]) / v
    """

    radii: tuple[float, ...] = (0.8, 0.6)
    noise: float = 0.1

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Seeded points, float64 [count, 2]; point i lies on circle i modulo the number of circles."""
        radii = torch.tensor(self.radii, dtype=torch.float64)[torch.arange(count) % len(self.radii)]
        angle = 2 * math.pi * torch.rand(count, dtype=torch.float64, generator=generator)
        centres = radii[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        return centres + self.noise * torch.randn(count, 2, dtype=torch.float64, generator=generator)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The posterior mean of the data given ``x`` [B, 2] at noise level ``sigma`` (a scalar)."""
        variance = self.noise**2 + float(sigma) ** 2
        r = x.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        radii = torch.tensor(self.radii, dtype=x.dtype)
        z = r * radii / variance
        posterior = torch.softmax(self._log_parts(r, variance), dim=1)
        length = (posterior * radii * torch.special.i1e(z) / torch.special.i0e(z)).sum(1, keepdim=True)
        return (self.noise**2 * x + float(sigma) ** 2 * x / r * length) / variance

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        """ln p(x; sigma) of the noisy data, [B] for ``x`` [B, 2]."""
        variance = self.noise**2 + sigma**2
        parts = self._log_parts(x.norm(dim=1, keepdim=True), variance)
        return parts.logsumexp(1) - math.log(len(self.radii) * 2 * math.pi * variance)

    def _log_parts(self, r: Tensor, variance: float) -> Tensor:
        """ln of the circles' shares of the density at radius ``r`` [B, 1], up to a constant: [B, K]."""
        radii = torch.tensor(self.radii, dtype=r.dtype)
        return torch.special.i0e(r * radii / variance).log() - (r - radii) ** 2 / (2 * variance)

    def radius_law(self, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Radii, ascending, and the distribution function of |x| at them, at noise level ``sigma``."""
        r = torch.linspace(
            0, max(self.radii) + 10 * math.hypot(self.noise, sigma), 4_001, dtype=torch.float64
        )
        density = 2 * math.pi * r * self.log_density(torch.stack([r, 0 * r], dim=1), sigma).exp()
        cumulative = torch.cat([r.new_zeros(1), torch.cumulative_trapezoid(density, r)])
        return r.numpy(), (cumulative / cumulative[-1]).numpy()


@dataclass(frozen=True)
class ExactFlow(Solver):
    """A solver without error: the probability-flow ODE of the circles, solved by quantiles.

    By symmetry the ODE keeps the angle and moves the radius along a line, where trajectories cannot cross;
    and it carries the law at t to the law at s. So it maps every quantile of |x| at t to that at s. The
    denoiser is not called.
    """

    circles: Circles

    evaluations = 0
    convergence = 1_000  # no error at all

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        """From ``x`` [B, 2] float64 at ``interval.start`` to its end."""
        r = x.norm(dim=1).numpy()
        level = np.interp(r, *self.circles.radius_law(float(interval.start)))
        radii, cumulative = self.circles.radius_law(float(interval.end))
        return x * torch.from_numpy(np.interp(level, cumulative, radii) / r)[:, None], history
