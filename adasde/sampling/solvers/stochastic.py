"""Samplers that draw noise: SDEs with the marginals of the probability-flow ODE.

With ``noise_option`` at 0 each is exactly a deterministic solver.
The exact SDE between two nodes for a constant clean estimate D is the kernel
x_s = (s/t)^2 x + (1 - (s/t)^2) D + s sqrt(1 - (s/t)^2) z, which all but EDM's reduce to at full noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.solvers.base import (
    DataPrediction,
    History,
    Interval,
    Node,
    Solver,
    Step,
    newest,
    number,
    remember,
)
from adasde.sampling.solvers.formulas import inject, weighted_sum
from adasde.sampling.solvers.multistep import exponential_sum
from adasde.sampling.solvers.quadrature import adams_weights, lagrange
from adasde.sampling.solvers.registry import register
from adasde.sampling.solvers.singlestep import Heun
from adasde.types import Denoiser

HIGHEST_CHURN = math.sqrt(2) - 1
"""EDM's bound on gamma: no more new noise than there is already."""


class WindowedNoise(Solver):
    """A solver that adds noise at levels in [low, high] only."""

    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low < self.high:
            raise SolverError(
                f"{type(self).__name__} needs 0 <= low < high, got low={self.low}, high={self.high}."
            )

    @property
    def scale_free(self) -> bool:
        """Whether the solver commutes with scaling: not with a window of noise levels."""
        return super().scale_free and (not self.stochastic or (self.low == 0 and self.high == math.inf))

    def noisy(self, sigma: Tensor) -> bool:
        """Whether a step that begins at ``sigma`` adds noise."""
        return self.low <= float(sigma.detach()) <= self.high


@register("edm")
@dataclass(frozen=True)
class EDMSampler(WindowedNoise):
    """EDM's stochastic sampler: churn, then a Heun step (Karras et al., 2206.00364, algorithm 2).

    Where low <= t <= high, noise raises the level from t to (1 + gamma) t with gamma = churn / N, at most
    sqrt(2) - 1. Heun's method at churn = 0. Weak order 2 where every step churns (measured 2.00).

    Attributes:
        churn: S_churn >= 0, about the number of e-folds of noise added in all; EDM uses 30 to 80 with
            256 steps. The default suits few steps.
        noise_scale: S_noise > 0; EDM uses 1.003 to 1.007 for trained networks.
        low, high: S_min and S_max, noise levels in the units of the data; EDM's for ImageNet.
    """

    churn: float = number(1.0, 0)
    noise_scale: float = number(1.0, 0)
    low: float = 0.05
    high: float = 50.0

    evaluations = 2
    noise_option = "churn"

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t = interval.start
        if self.noisy(t):
            gamma = torch.tensor(min(self.churn / interval.total, HIGHEST_CHURN), dtype=torch.float64)
            x, t = inject(x, t, gamma, lambda like: self.noise_scale * interval.noise(like))
        return Heun().step(denoise, x, replace(interval, start=t), history)


@register("ancestral")
@dataclass(frozen=True)
class Ancestral(Solver):
    """Ancestral sampling: an Euler step below the next node, then noise up to it. DDPM at eta = 1.

    sigma_up = eta s sqrt(1 - (s/t)^2), sigma_down^2 = s^2 - sigma_up^2 (Ho et al., 2006.11239; the eta of
    Song et al., 2010.02502, eq. 16). Euler's method (DDIM) at eta = 0. Weak and strong order 1 (measured
    0.97 and 0.96).
    """

    eta: float = number(1.0, 0, 1)

    convergence = 1
    noise_option = "eta"

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        share = 1 - (s / t) ** 2
        down = s * (1 - self.eta**2 * share).sqrt()
        output = denoise(x, t)
        mean = x + (down - t) * (x - output) / t
        if not self.stochastic:
            return mean, history
        return mean + self.eta * s * share.sqrt() * interval.noise(x), history


@register("dpmpp-sde")
@dataclass(frozen=True)
class DPMppSDE(DataPrediction):
    """SDE-DPM-Solver++(2M), midpoint form (Lu et al., 2211.01095, eq. 18 and its multistep form).

    ``eta`` scales the noise: 1 is the reverse SDE, 0 is DPM-Solver++(2M). With ``lower_order_final`` the
    last step is of order 1. Weak order 2 and strong order 1 (measured 1.96 and 1.03).
    """

    eta: float = number(1.0, 0)
    lower_order_final: bool = True

    noise_option = "eta"

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        t, s = interval.start, interval.end
        history = remember(self.clean(denoise), x, t, history, 2)
        nodes = newest(history, 2, interval.remaining, self.lower_order_final)
        h = (t / s).log()
        drift = exponential_sum(
            [node.sigma for node in nodes], [node.output for node in nodes], h, -(1 + self.eta) * h
        )
        z = interval.noise(x) if self.stochastic else None
        return kept(x, t, s, self.eta, z) - drift, history


@register("sa")
@dataclass(frozen=True)
class SA(WindowedNoise, DataPrediction):
    """SA-Solver with data prediction: stochastic Adams, predict - evaluate - correct (2309.05019, alg. 1).

    Xue et al.; tau(t) = ``tau`` for noise levels in [low, high], 0 outside: 1 is the reverse SDE, 0 the
    probability-flow ODE. Predictor and corrector of a step use the same noise. The node remembers the
    corrected state with the output at the predicted one; the last state is not corrected. Weak order 2 and
    strong order 1 (measured 2.05 and 1.03).

    Attributes:
        predictor_order: evaluations that a prediction uses, 1 to 4.
        corrector_order: evaluations that a correction uses, the new one included, 1 to 4; 0: no correction.
        few_steps: with two nodes use the authors' weights for few steps, which integrate the slope without
            the exponential (as in DPM-Solver++(2M) and UniPC; the order is the same).
        lower_order_final: the order decreases in the last steps.
    """

    predictor_order: int = number(2, 1, 4, integer=True)
    corrector_order: int = number(2, 0, 4, integer=True)
    tau: float = number(1.0, 0)
    low: float = 0.0
    high: float = math.inf
    few_steps: bool = True
    lower_order_final: bool = True

    noise_option = "tau"

    @property
    def convergence(self) -> int:
        """2, or 1 where predictor and corrector are of order 1."""
        return 1 if max(self.predictor_order, self.corrector_order) == 1 else 2

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        here = Node(interval.start, x, self.clean(denoise)(x, interval.start))
        if history and self.corrector_order:
            older = newest(history, self.corrector_order - 1, interval.remaining + 1, self.lower_order_final)
            here = replace(here, state=self.update(history[0], (here, *older), here.sigma))
        if self.squared_tau(here.sigma):
            here = replace(here, noise=interval.noise(x))
        history = (here, *history)[: max(self.predictor_order, self.corrector_order - 1)]
        nodes = newest(history, self.predictor_order, interval.remaining, self.lower_order_final)
        return self.update(here, nodes, interval.end), history

    def squared_tau(self, sigma: Tensor) -> float:
        """tau^2 for the step that begins at ``sigma``."""
        return self.tau**2 if self.noisy(sigma) else 0.0

    def update(self, base: Node, nodes: Sequence[Node], s: Tensor) -> Tensor:
        """State at s from that of ``base``, with the outputs of ``nodes``."""
        t, eta = base.sigma, self.squared_tau(base.sigma)
        sigmas = [node.sigma for node in nodes]
        weights = self.weights(sigmas, t, s, 1 + eta)
        drift = weighted_sum(weights, [node.output for node in nodes])
        return kept(base.state, t, s, eta, base.noise) + drift

    def weights(self, sigmas: Sequence[Tensor], t: Tensor, s: Tensor, k: float) -> list[Tensor]:
        """Integrals of k exp(-k (lambda_s - lambda)) L_j(lambda) over the step (see ``few_steps``)."""
        if len(sigmas) == 2 and self.few_steps:
            h, total = (t / s).log(), -torch.expm1(k * (s / t).log())
            at = torch.stack([t.log(), (t * s).log() / 2])
            basis = lagrange([sigma.log() for sigma in sigmas], at)
            return [total * first + k * h * (middle - first) for first, middle in basis]
        return adams_weights(sigmas, t, s, variable=torch.log, density=lambda sigma: -k * (s / sigma) ** k)


def kept(x: Tensor, t: Tensor, s: Tensor, eta: float, z: Tensor | None) -> Tensor:
    """(s/t) e^(-eta h) x + s sqrt(1 - e^(-2 eta h)) z: the decayed state and the step's new noise."""
    ratio = s / t
    if z is None:
        return ratio * x
    return ratio ** (1 + eta) * x + s * (1 - ratio ** (2 * eta)).sqrt() * z
