"""``sample_adasde``: coefficients as a sampling function with k-diffusion's signature.

The library itself is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from adasde.errors import SolverError
from adasde.integrations.guidance import check_guidance
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate
from adasde.sampling.solvers import sampler_of
from adasde.sampling.wrappers import AnalyticFirstStep
from adasde.types import Denoiser

Callback = Callable[[dict[str, Any]], None]
NoiseSampler = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def sample_adasde(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    coefficients: Coefficients | str | os.PathLike[str],
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Sample from ``x`` [B, *shape], noise of standard deviation ``sigmas[0]``, with learned coefficients.

    Args:
        model: ``model(x, sigma, **extra_args) -> x0`` with ``sigma`` [B], as k-diffusion's wrappers make it.
        sigmas: the nodes of the coefficients, ``coefficients.sigmas``; a 0 at the end is ignored.
        extra_args: keywords of ``model``; a ``cond_scale`` among them is its guidance scale.
        callback: called after every step with ``x`` and ``sigma`` at its start, the number ``i`` of the step,
            ``sigma_hat`` after new noise, and ``denoised``, the clean estimate there.
        disable: no progress bar.
        coefficients: the coefficients, or the path or address of their file (see ``Coefficients.load``).
        s_noise: scale of new noise; distillation used 1.
        noise_sampler: ``noise_sampler(sigma, sigma_next)`` gives a step's standard normal noise; by default
            fresh noise from torch's global generator.

    Returns:
        State at the last node, as ``adasde.sample``.

    Raises:
        SolverError: other nodes than those of the coefficients.
        CoefficientsError: the file cannot be used, or ``cond_scale`` differs from the distilled one.
        StoreError: the address cannot be reached.
    """
    table = coefficients if isinstance(coefficients, Coefficients) else Coefficients.load(coefficients)
    _check_nodes(table, sigmas)
    extra_args = extra_args or {}
    check_guidance(table, extra_args.get("cond_scale"))
    network = _Recorder(model, extra_args)
    fresh = noise_sampler or (lambda sigma, sigma_next: torch.randn_like(x))

    def noise(step: int, like: Tensor) -> Tensor:
        return s_noise * fresh(sigmas[step], sigmas[step + 1])

    trajectory = integrate(network, x, table.sigmas, sampler_of(table), afs=table.afs, noise=noise)
    next(trajectory)
    for i, after in enumerate(tqdm(trajectory, total=table.steps, disable=disable)):
        if callback is not None:
            sigma = sigmas[i]
            step = {"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma * (1 + float(table.gamma[i]))}
            callback(step | {"denoised": network.first(x, sigma)})
        x = after
    return x


def _check_nodes(table: Coefficients, sigmas: Tensor) -> None:
    given = [float(sigma) for sigma in sigmas]
    given = given[:-1] if given[-1:] == [0.0] else given
    nodes = torch.tensor(given, dtype=torch.float64)
    if len(nodes) != len(table.sigmas) or not torch.allclose(nodes, table.sigmas, rtol=1e-3, atol=0):
        known = [round(sigma, 4) for sigma in table.sigmas.tolist()]
        raise SolverError(
            f"these coefficients were distilled for the sigmas {known}, not for "
            f"{[round(sigma, 4) for sigma in given]}. Pass sigmas=coefficients.sigmas, and x of the first."
        )


class _Recorder(Denoiser):
    """The model as a denoiser that keeps the first clean estimate of every step."""

    def __init__(self, model: Callable[..., Tensor], extra_args: Mapping[str, Any]) -> None:
        self.model = model
        self.extra_args = extra_args
        self.estimate: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        out = self.model(x, sigma * x.new_ones(len(x)), **self.extra_args)
        self.estimate = out if self.estimate is None else self.estimate
        return out

    def first(self, x: Tensor, sigma: Tensor) -> Tensor:
        """First clean estimate of the step; that of the analytic first step where none was evaluated."""
        estimate, self.estimate = self.estimate, None
        return AnalyticFirstStep(self)(x, sigma.to(x)) if estimate is None else estimate
