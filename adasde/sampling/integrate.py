"""The only sampling loop, and the two calls most people need: ``solve`` and ``sample``."""

from __future__ import annotations

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
    ``noise(step, like)`` serves solvers that inject noise; None means ``SeededNoise(range(B))``.

    Raises:
        SolverError: ``sigmas`` is not a strictly decreasing positive row of at least two nodes, or the
            denoiser returned another shape or dtype.
    """
    sigmas = checked(sigmas)
    network: Denoiser = Edge(denoise)
    if afs:
        network = AnalyticFirstStep(network)
    draw = noise or SeededNoise(range(len(x)))
    history: History = ()
    nodes, last = sigmas.unbind(), len(sigmas) - 2
    yield x
    for i, (start, end) in enumerate(pairwise(nodes)):
        interval = Interval(i, start, end, last - i, partial(draw, i))
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
    """Sample with a classical solver: ``latents`` ~ N(0, I) [B, *shape] -> the state at sigmas[-1].

    ``noise(step, like)`` serves the stochastic solvers; None means ``SeededNoise(range(B))``. ``options``
    are the solver's own (``order``, ``r``, ``lower_order_final``, ...); unknown ones are refused.

    Raises:
        SolverError: unknown solver or option, a grid that is not one, or a denoiser that returns another
            shape, another dtype or values that are not finite.
    """
    x = latents * checked(sigmas)[0]
    for state in integrate(Finite(denoise), x, sigmas, make_solver(solver, options), afs=afs, noise=noise):
        x = state
    return x


@torch.no_grad()
def sample(
    denoise: Denoiser, latents: Tensor, coefficients: Coefficients, noise: Noise | None = None
) -> Tensor:
    """Sample with learned coefficients: ``latents`` ~ N(0, I) [B, *shape] -> x0 (the state at sigma_min).

    ``noise(step, like)`` gives the injected noise; None means ``SeededNoise(range(B))``. Pass
    ``SeededNoise(seeds)`` together with ``adasde.latents(seeds, shape)`` for images that depend on
    their own seed alone.

    Raises:
        SolverError: the coefficients' solver does not exist, or the denoiser returns another shape,
            another dtype or values that are not finite.
    """
    x = latents * coefficients.sigmas[0]
    solver = sampler_of(coefficients)
    walk = integrate(Finite(denoise), x, coefficients.sigmas, solver, afs=coefficients.afs, noise=noise)
    for state in walk:
        x = state
    return x
