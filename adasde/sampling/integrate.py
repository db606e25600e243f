"""The sampling loop ``integrate``, and the two calls that most people need: ``solve`` and ``sample``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import SeededNoise
from adasde.sampling.schedules import checked
from adasde.sampling.solvers import History, Interval, Solver, make_solver, sampler_of
from adasde.sampling.wrappers import AnalyticFirstStep, Edge, Finite
from adasde.types import Denoiser, Noise


def integrate(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    solver: Solver,
    *,
    afs: bool = False,
    noise: Noise | None = None,
) -> Iterator[Tensor]:
    """Yield the state at every node of ``sigmas`` [N+1], beginning with ``x`` [B, *shape] at sigmas[0].

    Gradients flow (to x, sigmas and a solver's coefficients) unless the caller turns them off.
    ``noise(step, like)``: noise of stochastic solvers; None means ``SeededNoise(range(B))``.

    Raises:
        SolverError: ``sigmas`` has fewer than two nodes or does not decrease strictly to a positive end, or
            the denoiser returned another shape or dtype.
    """
    sigmas = checked(sigmas)
    network: Denoiser = Edge(denoise)
    if afs:
        network = AnalyticFirstStep(network)
    draw = noise or SeededNoise(range(len(x)))
    history: History = ()
    steps = len(sigmas) - 1
    yield x
    for i, (t, s) in enumerate(pairwise(sigmas.unbind())):
        interval = Interval(i, t, s, steps - 1 - i, partial(draw, i))
        x, history = solver.step(network, x, interval, history)
        yield x


@torch.no_grad()
def solve(
    denoise: Denoiser,
    latents: Tensor,
    sigmas: Tensor,
    solver: str = "heun",
    afs: bool = False,
    noise: Noise | None = None,
    **options: Any,
) -> Tensor:
    """Samples by a classical solver: ``latents`` ~ N(0, I) [B, *shape] -> the state at sigmas[-1].

    ``noise(step, like)``: noise of stochastic solvers; None means ``SeededNoise(range(B))``. ``options``: the
    solver's own (``order``, ``r``, ``lower_order_final``, ...).

    Raises:
        SolverError: unknown solver or option, an invalid grid, or a denoiser that returns another shape,
            another dtype or values that are not finite.
    """
    x, method = latents * checked(sigmas)[0], make_solver(solver, options)
    return deque(integrate(Finite(denoise), x, sigmas, method, afs=afs, noise=noise), maxlen=1).pop()


@torch.no_grad()
def sample(
    denoise: Denoiser, latents: Tensor, coefficients: Coefficients, noise: Noise | None = None
) -> Tensor:
    """Samples by learned coefficients: ``latents`` ~ N(0, I) [B, *shape] -> x0 (the state at sigma_min).

    ``noise(step, like)``: the injected noise; None means ``SeededNoise(range(B))``. With
    ``adasde.latents(seeds, shape)`` and ``SeededNoise(seeds)`` every image depends on its own seed alone.

    Raises:
        SolverError: the coefficients' solver does not exist, or the denoiser returns another shape,
            another dtype or values that are not finite.
    """
    sigmas, afs, solver = coefficients.sigmas, coefficients.afs, sampler_of(coefficients)
    x = latents * sigmas[0]
    return deque(integrate(Finite(denoise), x, sigmas, solver, afs=afs, noise=noise), maxlen=1).pop()
