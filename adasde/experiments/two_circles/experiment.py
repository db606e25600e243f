"""A version of the AdaSDE paper's experiment (2510.23285): which error noise reduces and which it adds.

With S[D] the samples that Heun's method makes with the denoiser D, D* the exact one and D_theta the
network, and W1 the Wasserstein-1 distance:

    total = W1(S[D_theta], data)    gradient = W1(S[D_theta], S[D*])    discretisation = W1(S[D*], data)

so that total <= gradient + discretisation. Two measures:

``plane``: W1 of small clouds in the plane, independent of each other: all three errors have the floor of two
clouds of data. (From the same latents, the best assignment would pair every point with itself and measure
the distance of single trajectories, which noise cannot reduce, instead of that of distributions.)

``radius``: W1 of |x|, of large clouds made from the same latents and noises; the data are those of
``ExactFlow``. What they have in common cancels, and many sorted points lie closer on a line than
trajectories part, so that the floor is next to nothing. Never more than W1 in the plane, and equal to it
between rotation invariant laws, as those of the data and of S[D*] are; blind to errors of the angle.

Over gamma and the number of steps, latents, noises and data are the same: differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from adasde.experiments.two_circles.circles import ExactFlow
from adasde.experiments.two_circles.distances import assignment_distance, line_distance
from adasde.experiments.two_circles.settings import Settings
from adasde.models.core.preconditioning import Preconditioned, training_loss
from adasde.models.families.toy.mlp import ResidualMLP
from adasde.models.families.toy.training import descend, deterministic, sample_sigmas
from adasde.sampling.integrate import integrate
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import Heun, PlugIn, Solver
from adasde.types import Denoiser
from adasde.utils.progress import track

PAIRS = {"total": ("learned", "data"), "gradient": ("learned", "exact"), "discretisation": ("exact", "data")}
"""kind of error -> between which clouds."""

MEASURES = ("plane", "radius")
SHOWN = 20
"""The clouds of the number of steps nearest to this are kept for the picture."""

Key = tuple[str, str]
"""(measure, kind)."""


@dataclass(frozen=True)
class ErrorMeasurements:
    """All measured errors, and clouds to show.

    Attributes:
        settings: of the run.
        errors: W1 [gammas, steps, groups] of every (measure, kind).
        floor: W1 in the plane of two independent clouds of data, [groups]; no sampler gets below.
        clouds: points [samples, 2] at ``shown`` steps: "data"; "ode" and "sde" (the largest gamma) of the
            network; "exact", the ODE with the exact denoiser.
        shown: number of steps of ``clouds``.
    """

    settings: Settings
    errors: dict[Key, np.ndarray]
    floor: np.ndarray
    clouds: dict[str, np.ndarray]
    shown: int


def measure(settings: Settings) -> ErrorMeasurements:
    """Train the network, sample with it and the exact denoiser, measure; deterministic given the seed."""
    shape = (len(settings.gammas), len(settings.steps), settings.groups)
    errors = {(measure, kind): np.empty(shape) for measure in MEASURES for kind in PAIRS}
    with deterministic(settings.seed) as generator:
        clouds = Clouds(settings, generator)
        with track(len(settings.gammas) * sum(settings.steps), "analyse", "steps") as advance:
            for j, steps in enumerate(settings.steps):
                for i, gamma in enumerate(settings.gammas):
                    alike = clouds.alike(steps, gamma)
                    separate = clouds.separate(alike["learned"], steps, gamma)
                    for key, values in distances(separate, alike).items():
                        errors[key][i, j] = values
                    advance(steps)
        shown = min(settings.steps, key=lambda steps: abs(steps - SHOWN))
        ode, sde = (clouds.alike(shown, gamma) for gamma in (0.0, settings.gammas[-1]))
    pictured = {"data": ode["data"], "exact": ode["exact"], "ode": ode["learned"], "sde": sde["learned"]}
    floor = np.array([assignment_distance(*pair) for pair in zip(clouds.data, clouds.other, strict=True)])
    return ErrorMeasurements(
        settings, errors, floor, {k: v.reshape(-1, 2) for k, v in pictured.items()}, shown
    )


class Clouds:
    """The clouds of the experiment, [groups, n, 2]; the constructor trains the network."""

    def __init__(self, settings: Settings, generator: torch.Generator) -> None:
        self.circles, self.groups, self.block = settings.circles, settings.groups, settings.block
        self.large, self.small = (HeunSampler(seeds) for seeds in seeds_of(settings))
        self.network = fit(self.circles.sample(settings.points, generator), settings)
        count = self.groups * self.block
        self.data, self.other = (self._split(self.circles.sample(count, generator).numpy()) for _ in range(2))

    def alike(self, steps: int, gamma: float) -> dict[str, np.ndarray]:
        """Large clouds of the same latents and noises."""
        flow = ExactFlow(self.circles)
        return {
            "learned": self._split(self.large(self.network, steps, gamma)),
            "exact": self._split(self.large(self.circles, steps, gamma)),
            "data": self._split(self.large(self.circles, steps, gamma, flow)),
        }

    def separate(self, learned: np.ndarray, steps: int, gamma: float) -> dict[str, np.ndarray]:
        """Small clouds, independent of each other; ``learned``: part of the network's large one."""
        exact = self._split(self.small(self.circles, steps, gamma))
        return {"learned": learned[:, : self.block], "exact": exact, "data": self.data}

    def _split(self, cloud: np.ndarray) -> np.ndarray:
        """[n, 2] -> [groups, n // groups, 2]; the remainder is dropped."""
        return cloud[: len(cloud) // self.groups * self.groups].reshape(self.groups, -1, 2)


def seeds_of(settings: Settings) -> tuple[range, range]:
    """Seeds of the large clouds, and of the exact denoiser's small ones; disjoint, also between seeds."""
    small = settings.groups * settings.block
    first = (settings.samples + small) * settings.seed
    middle = first + settings.samples
    return range(first, middle), range(middle, middle + small)


def distances(separate: Mapping[str, np.ndarray], alike: Mapping[str, np.ndarray]) -> dict[Key, np.ndarray]:
    """The three errors [groups] in both measures, from clouds [groups, n, 2] "learned", "exact", "data".

    ``separate``: independent clouds, for the plane. ``alike``: of the same latents, for the radius.
    """
    found = {}
    for kind, (a, b) in PAIRS.items():
        plane = zip(separate[a], separate[b], strict=True)
        found["plane", kind] = np.array([assignment_distance(*pair) for pair in plane])
        radius = zip(*(np.linalg.norm(alike[name], axis=2) for name in (a, b)), strict=True)
        found["radius", kind] = np.array([line_distance(*pair) for pair in radius])
    return found


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
            training = descend(model, [optimiser], loss, iterations=count, warm_up=count // 20, ema=ema)
            average = next(training)  # the same module at every iteration
            advance()
            for _ in training:
                advance()
    return average.eval()


class HeunSampler:
    """Heun's method with constant gamma on EDM's grid (polynomial, rho 7, sigma 80 to 0.002).

    Noise is injected before every step but the first, whose state is nothing but fresh noise. Point k
    comes from ``seeds[k]`` alone: the same latent and noises for every denoiser, gamma, number of steps.
    """

    def __init__(self, seeds: range) -> None:
        self.latents = latents(seeds, (2,), dtype=torch.float64)
        self.draw = SeededNoise(seeds)
        self.drawn: dict[int, Tensor] = {}  # one noise a step, needed again and again

    def noise(self, step: int, like: Tensor) -> Tensor:
        """The injected noise of one step, [count, 2]."""
        if step not in self.drawn:
            self.drawn[step] = self.draw(step, like)
        return self.drawn[step]

    @torch.no_grad()
    def __call__(
        self, denoise: Denoiser, steps: int, gamma: float, solver: Solver | None = None
    ) -> np.ndarray:
        """The samples, [count, 2]; ``solver`` takes the place of Heun's method."""
        sigmas = schedule("polynomial", steps)
        gammas = torch.full((steps,), gamma, dtype=torch.float64)
        gammas[0] = 0
        x = self.latents * sigmas[0]
        for state in integrate(denoise, x, sigmas, PlugIn(solver or Heun(), gammas), noise=self.noise):
            x = state
        return x.numpy()
