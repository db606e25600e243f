"""One step of AdaSDE as a map of radial laws, and the terms of the error bounds of that step.

The bounds are those of 2510.23285, Theorems 1 to 3. Of a step from t to s, with p the true law, q the
sampler's, Phi the step's deterministic part from t_hat = (1 + gamma) t, and * the noise:

    gradient       = W1(Phi q*, Phi p*)   what the step takes over: at most B TV(q*, p*)
    discretisation = W1(Phi p*, p_s)      what the step adds, of the solver and of the network
    total          = W1(Phi q*, p_s)      at most the sum of both
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from adasde.experiments.two_circles.circles import Circles
from adasde.experiments.two_circles.radial import RadialLaw, along_axis, exact_law, level_edges
from adasde.experiments.two_circles.theorems import Constants, injected_scale, log10_discretisation_bound
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate
from adasde.sampling.solvers import Solver, make_solver, sampler_of
from adasde.types import Denoiser

LEVELS = 33
"""Noise levels at which the constants of the assumptions are looked for."""


@dataclass(frozen=True)
class StepTerms:
    """One step with one gamma; all distances are in the plane.

    Attributes:
        step: its index.
        start, end: t and s.
        before, after: TV(q, p) at t, and TV(q*, p*) at t_hat.
        gradient, discretisation, total: W1, see the module.
        euler: the discretisation of Euler's step, which the theorems are about.
        known: constants of the assumptions over the step.
    """

    step: int
    gamma: float
    start: float
    end: float
    before: float
    after: float
    gradient: float
    discretisation: float
    total: float
    euler: float
    known: Constants

    @property
    def raised(self) -> float:
        """t_hat."""
        return (1 + self.gamma) * self.start

    @property
    def scale(self) -> float:
        """Standard deviation of the injected noise."""
        return injected_scale(self.start, self.raised)

    @property
    def log10_second_term(self) -> float:
        """log10 of the bound of the discretisation error of Euler's step."""
        return log10_discretisation_bound(self.known, self.raised - self.end)

    @property
    def kept(self) -> float:
        """Share of the total variation that the noise leaves, TV(q*, p*) / TV(q, p)."""
        return self.after / self.before if self.before else 1.0


@dataclass(frozen=True)
class StudentStep:
    """Step ``index`` of ``table`` with the denoiser ``network``, as a map of laws on ``bins`` bins."""

    network: Denoiser
    table: Coefficients
    index: int
    circles: Circles
    bins: int

    @property
    def levels(self) -> tuple[float, float]:
        """t and s."""
        start, end = self.table.sigmas[self.index : self.index + 2].tolist()
        return start, end

    def edges(self, sigma: float) -> np.ndarray:
        """Edges of laws at level ``sigma``."""
        return level_edges(self.circles, sigma, self.bins)

    def true(self, sigma: float) -> RadialLaw:
        """Law of the data at ``sigma``."""
        return exact_law(self.circles, sigma, self.edges(sigma))

    def raised(self, law: RadialLaw, gamma: float) -> RadialLaw:
        """``law`` at t after the noise."""
        t, t_hat = self.levels[0], (1 + gamma) * self.levels[0]
        return law.injected(injected_scale(t, t_hat), self.edges(t_hat))

    def image(self, law: RadialLaw, gamma: float, *, euler: bool = False) -> RadialLaw:
        """Law at s of the deterministic part of the step from t_hat, or of Euler's step."""
        t_hat, s = (1 + gamma) * self.levels[0], self.levels[1]
        i, table = slice(self.index, self.index + 1), self.table
        one = replace(
            table,
            sigmas=torch.tensor([t_hat, s], dtype=torch.float64),
            gamma=torch.zeros(1),
            **{k: getattr(table, k)[i] for k in ("midpoint", "direction_scale", "time_scale", "weights")},
        )
        solver: Solver = make_solver("euler") if euler else sampler_of(one)

        def field(x: Tensor) -> Tensor:
            *_, end = integrate(self.network, x, one.sigmas, solver, afs=table.afs and self.index == 0)
            return end

        radii = np.abs(along_axis(field, law.edges))
        return law.pushed(radii, self.edges(s))

    def end(self, law: RadialLaw, gamma: float) -> RadialLaw:
        """Law at s of a sampler with ``law`` at t."""
        return self.image(self.raised(law, gamma), gamma)

    def terms(self, law: RadialLaw, gamma: float) -> StepTerms:
        """Terms for the sampler's ``law`` at t."""
        (t, s), true = self.levels, self.true(self.levels[0])
        noisy, exact = self.raised(law, gamma), self.raised(true, gamma)
        ours, ideal, goal = self.image(noisy, gamma), self.image(exact, gamma), self.true(s)
        return StepTerms(
            step=self.index,
            gamma=gamma,
            start=t,
            end=s,
            before=law.total_variation(true),
            after=noisy.total_variation(exact),
            gradient=ours.wasserstein(ideal),
            discretisation=ideal.wasserstein(goal),
            total=ours.wasserstein(goal),
            euler=self.image(exact, gamma, euler=True).wasserstein(goal),
            known=self.constants((1 + gamma) * t),
        )

    def constants(self, t_hat: float) -> Constants:
        """Constants between s and ``t_hat``, over the states that such a step can reach.

        Of the radial field d(r) x / r the Jacobian's singular values are |d'| and |d / r|. Looked for at
        ``LEVELS`` levels and a quarter of the bins; differences stand for derivatives.
        """
        s = self.levels[1]
        levels = np.geomspace(t_hat, s, LEVELS)
        radii = [level_edges(self.circles, level, self.bins // 4)[1:] for level in levels]
        drifts = [drift(self.network, r, level) for r, level in zip(radii, levels, strict=True)]
        slopes, changes, errors = [], [], []
        for k, (r, d) in enumerate(zip(radii, drifts, strict=True)):
            slopes += [np.abs(np.gradient(d, r)).max(), np.abs(d / r).max()]
            errors.append(np.abs(d - drift(self.circles, r, levels[k])).max())
            near = 0.999 * levels[k]
            changes.append(np.abs(d - drift(self.network, r, near)).max() / (levels[k] - near))
        height = max(float(np.abs(d).max()) for d in drifts)
        diameter = 2 * float(self.edges(t_hat)[-1])
        return Constants(diameter, float(max(slopes)), height, float(max(changes)), float(max(errors)))


def drift(denoise: Denoiser, radii: np.ndarray, sigma: float) -> np.ndarray:
    """Radial part of dx/dsigma = (x - D(x, sigma)) / sigma at ``radii``."""
    level = torch.tensor(sigma, dtype=torch.float64)
    return along_axis(lambda x: (x - denoise(x, level)) / level, radii)
