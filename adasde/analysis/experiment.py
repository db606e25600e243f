"""The synthetic experiment of the AdaSDE paper (2510.23285): which error does noise heal, which does it add?

With S[D] the samples that Heun's method makes with the denoiser D, D* the exact one and D_theta the
network, and W1 between clouds of equally many points:

    total = W1(S[D_theta], data)    gradient = W1(S[D_theta], S[D*])    discretisation = W1(S[D*], data)

so that total <= gradient + discretisation. The clouds of D_theta, of D* and the data are independent of
each other: three distances with the same finite-sample floor. (Had D_theta and D* the same latents, the
gradient error would say how far single trajectories part, which noise cannot heal, instead of laws.)
Over gamma and the number of steps the latents, noises and data are the same: differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from adasde.analysis.distances import assignment_distance, line_distance
from adasde.analysis.settings import Settings
from adasde.integrate import integrate
from adasde.models.edm import Preconditioned, training_loss
from adasde.models.mlp import ResidualMLP
from adasde.models.training import descend, deterministic, sample_sigmas
from adasde.noise import SeededNoise, latents
from adasde.progress import track
from adasde.schedules import schedule
from adasde.solvers import Heun, PlugIn
from adasde.types import Denoiser

PAIRS = {"total": ("learned", "data"), "gradient": ("learned", "exact"), "discretisation": ("exact", "data")}
"""kind of error -> between which clouds."""

MEASURES = ("plane", "radius")
SHOWN = 20
"""The clouds of the number of steps nearest to this are kept for the picture."""

Key = tuple[str, str]
"""(measure, kind)."""


@dataclass(frozen=True)
class Measured:
    """What ``measure`` found.

    Attributes:
        settings: of the run.
        errors: W1 [gammas, steps, groups] of every (measure, kind).
        floor: the same distance with new data in place of the samples, [groups]; no sampler gets below.
        clouds: points [samples, 2] at ``shown`` steps: "data"; "ode" and "sde" (the largest gamma) of the
            network; "exact", the ODE with the exact denoiser.
        shown: number of steps of ``clouds``.
    """

    settings: Settings
    errors: dict[Key, np.ndarray]
    floor: dict[Key, np.ndarray]
    clouds: dict[str, np.ndarray]
    shown: int


def measure(settings: Settings) -> Measured:
    """Train the network, sample with it and with the exact denoiser, measure; deterministic for a seed."""
    shape = (len(settings.gammas), len(settings.steps), settings.groups)
    errors = {(measure, kind): np.empty(shape) for measure in MEASURES for kind in PAIRS}
    shown = min(settings.steps, key=lambda steps: abs(steps - SHOWN))
    with deterministic(settings.seed) as generator:
        learned_seeds, exact_seeds = seeds_of(settings)
        learned = Sampler(fit(settings.circles.sample(settings.points, generator), settings), learned_seeds)
        exact = Sampler(settings.circles, exact_seeds)
        data, other = (settings.circles.sample(settings.samples, generator).numpy() for _ in range(2))
        with track(len(settings.gammas) * sum(settings.steps), "analyse", "steps") as advance:
            for j, steps in enumerate(settings.steps):
                for i, gamma in enumerate(settings.gammas):
                    pair = learned(steps, gamma), exact(steps, gamma)
                    for key, values in distances(settings, *pair, data).items():
                        errors[key][i, j] = values
                    advance(steps)
        most = settings.gammas[-1]
        clouds = {"ode": learned(shown, 0.0), "sde": learned(shown, most), "exact": exact(shown, 0.0)}
    floor = distances(settings, other, data, data)
    floor |= {(measure, "discretisation"): floor[measure, "total"] for measure in MEASURES}
    return Measured(settings, errors, floor, {"data": data, **clouds}, shown)


def seeds_of(settings: Settings) -> tuple[range, range]:
    """The samples' seeds, of the network and of the exact denoiser: disjoint, also between experiments."""
    first, count = 2 * settings.samples * settings.seed, settings.samples
    return range(first, first + count), range(first + count, first + 2 * count)


def fit(data: Tensor, settings: Settings) -> nn.Module:
    """EDM training on ``data`` [n, 2] (2206.00364, Table 1: ln sigma ~ N(-1.2, 1.2^2)); averages weights."""
    points = data.float()
    sigma_data = float(points.std())
    with deterministic(settings.seed) as generator:
        model = Preconditioned(ResidualMLP((2,), width=settings.width, depth=settings.depth), sigma_data)
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.rate, betas=(0.9, 0.99), fused=True)

        def loss(done: int) -> Tensor:
            batch = points[torch.randint(len(points), (settings.batch,), generator=generator)]
            noise = torch.randn(batch.shape, generator=generator)
            sigma = sample_sigmas(settings.batch, -1.2, 1.2, generator)
            return training_loss(model, batch, noise, sigma, sigma_data)

        count, ema = settings.iterations, max(0.0, 1 - 20 / settings.iterations)
        with track(count, "analyse: train", "iterations") as advance:
            walk = descend(model, optimiser, loss, iterations=count, warm_up=count // 20, ema=ema)
            average = next(walk)  # the same module all the time
            advance()
            for _ in walk:
                advance()
    return average.eval()


class Sampler:
    """Heun's method with constant gamma on EDM's grid (polynomial, rho 7, sigma 80 to 0.002).

    Noise is injected before every step but the first, whose state is nothing but fresh noise. Point k
    comes from ``seeds[k]`` alone: the same latent and noises for every gamma and number of steps.
    """

    def __init__(self, denoise: Denoiser, seeds: range) -> None:
        self.denoise = denoise
        self.latents = latents(seeds, (2,), dtype=torch.float64)
        self.draw = SeededNoise(seeds)
        self.drawn: dict[int, Tensor] = {}  # one noise a step, needed again for every gamma

    def noise(self, step: int, like: Tensor) -> Tensor:
        """The injected noise of one step, [count, 2]."""
        if step not in self.drawn:
            self.drawn[step] = self.draw(step, like)
        return self.drawn[step]

    @torch.no_grad()
    def __call__(self, steps: int, gamma: float) -> np.ndarray:
        """The samples, [count, 2]."""
        sigmas = schedule("polynomial", steps)
        gammas = torch.full((steps,), gamma, dtype=torch.float64)
        gammas[0] = 0
        x = self.latents * sigmas[0]
        for state in integrate(self.denoise, x, sigmas, PlugIn(Heun(), gammas), noise=self.noise):
            x = state
        return x.numpy()


def distances(
    settings: Settings, learned: np.ndarray, exact: np.ndarray, data: np.ndarray
) -> dict[Key, np.ndarray]:
    """The three errors in both measures, [groups] each; the clouds are [samples, 2].

    ``plane`` is W1 itself, on the first ``block`` points of every group. ``radius`` is W1 of |x| on whole
    groups, against the exact law where the other side is data: never more than W1 in the plane, and equal
    to it (for laws, not finite clouds) where both laws are rotation invariant, as those of the data and of
    S[D*] are. Its floor is far lower.
    """
    used = settings.groups * settings.group
    clouds = {"learned": learned, "exact": exact, "data": data}
    groups = {name: cloud[:used].reshape(settings.groups, -1, 2) for name, cloud in clouds.items()}
    radii = {name: np.linalg.norm(group, axis=2) for name, group in groups.items()}
    radii["data"] = np.broadcast_to(settings.circles.radius_quantiles(settings.group), radii["data"].shape)
    found = {}
    for kind, (a, b) in PAIRS.items():
        plane = zip(groups[a][:, : settings.block], groups[b][:, : settings.block], strict=True)
        found["plane", kind] = np.array([assignment_distance(*pair) for pair in plane])
        radius = zip(radii[a], radii[b], strict=True)
        found["radius", kind] = np.array([line_distance(*pair) for pair in radius])
    return found
