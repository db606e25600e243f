"""The same states as the schedulers of diffusers, on the same noise levels, where both have the method.

Most of their schedulers speak the variance-preserving x / sqrt(1 + sigma^2) and the noise; the models here
speak x and the clean estimate. ``docs/solvers.md`` says what is defined differently.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor
from walk import last

from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import SA, AdamsBashforth, Ancestral, DPMpp, DPMppSDE, Euler, Heun, Solver, UniPC

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings(r"ignore:::diffusers\..*")

STEPS, SEED = 8, 3
DOUBLE, SINGLE = 1e-12, 1e-5
"""Relative: where they compute in float64; where they cast the state to float32 inside (Euler, DPMSolver)."""


def generator(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noises() -> list[Tensor]:
    """What ``generator()`` gives to the steps, one after the other."""
    source = generator()
    return [torch.randn(16, 6, dtype=torch.float64, generator=source) for _ in range(STEPS)]


def compare(
    scheduler: Any,
    solver: Solver,
    tolerance: float = DOUBLE,
    *,
    preserving: bool = True,
    twice: bool = False,
    **extra: Any,
) -> None:
    """Walk with both and compare the ends.

    ``preserving``: the scheduler's state is x / sqrt(1 + sigma^2); ``twice``: it is called at both ends of
    an interval; ``extra``: more arguments of its ``step`` (a list: one for every step).
    """
    x = 14 * torch.randn(16, 6, dtype=torch.float64, generator=generator(0))
    sigmas, drawn = schedule("polynomial", STEPS, sigma_min=0.05, sigma_max=14.0), noises()
    nodes = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2 if twice else 1)])
    scale = (1 + nodes**2).sqrt() if preserving else torch.ones_like(nodes)
    calls = len(nodes) - 1
    prepare(scheduler, nodes)
    state = x / scale[0]
    for i, time in enumerate(scheduler.timesteps):
        here = {key: value[i] if isinstance(value, list) else value for key, value in extra.items()}
        at_node = state * scale[i]
        noise = (at_node - small_mixture()(at_node, nodes[i])) / nodes[i]
        state = scheduler.step(noise, time, state, **here).prev_sample
    ours = last(small_mixture(), x, sigmas, solver, noise=lambda step, like: drawn[step])
    theirs = state * scale[calls]
    assert theirs.dtype == torch.float64
    assert float((ours - theirs).norm() / theirs.norm()) < tolerance


def prepare(scheduler: Any, nodes: Tensor) -> None:
    """Put the scheduler on these noise levels instead of its own."""
    calls = len(nodes) - 1
    scheduler.set_timesteps(calls)
    scheduler.timesteps = torch.arange(calls, 0, -1.0, dtype=torch.float64)
    if isinstance(scheduler, diffusers.DDIMScheduler):  # it looks its signal up at whole times 0 .. calls
        scheduler.timesteps = scheduler.timesteps.long()
        scheduler.alphas_cumprod = 1 / (1 + nodes.flip(0) ** 2)
    else:
        scheduler.sigmas = nodes


def test_ddim_is_euler() -> None:
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=STEPS + 1, clip_sample=False)
    compare(scheduler, Euler())


def test_euler() -> None:
    compare(diffusers.EulerDiscreteScheduler(), Euler(), SINGLE, preserving=False)


def test_heun() -> None:
    compare(diffusers.HeunDiscreteScheduler(), Heun(), preserving=False, twice=True)


def test_ancestral() -> None:
    scheduler = diffusers.EulerAncestralDiscreteScheduler()
    compare(scheduler, Ancestral(), SINGLE, preserving=False, generator=generator())


@pytest.mark.parametrize("lower_order_final", [True, False])
@pytest.mark.parametrize(("algorithm", "prediction"), [("dpmsolver++", "data"), ("dpmsolver", "noise")])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dpm_solver(order: int, algorithm: str, prediction: str, lower_order_final: bool) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type=algorithm,
        solver_order=order,
        lower_order_final=lower_order_final,
        final_sigmas_type="sigma_min",
    )
    compare(scheduler, DPMpp(order, lower_order_final, prediction), SINGLE)


@pytest.mark.parametrize("lower_order_final", [True, False])
def test_sde_dpm_solver_pp(lower_order_final: bool) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", lower_order_final=lower_order_final, final_sigmas_type="sigma_min"
    )
    ours = DPMppSDE(lower_order_final=lower_order_final)
    compare(scheduler, ours, SINGLE, variance_noise=noises())


@pytest.mark.parametrize("lower_order_final", [True, False])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(order: int, variant: str, lower_order_final: bool) -> None:
    scheduler = diffusers.UniPCMultistepScheduler(
        solver_order=order,
        solver_type=variant,
        lower_order_final=lower_order_final,
        final_sigmas_type="sigma_min",
    )
    compare(scheduler, UniPC(order, variant, lower_order_final))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_in_log_sigma(order: int) -> None:
    scheduler = diffusers.DEISMultistepScheduler(solver_order=order, lower_order_final=False)
    compare(scheduler, AdamsBashforth(order, "log"))


@pytest.mark.parametrize("lower_order_final", [True, False])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("predictor", "corrector"), [(1, 1), (2, 2), (3, 3), (3, 4), (4, 2)])
def test_sa_solver(predictor: int, corrector: int, tau: float, lower_order_final: bool) -> None:
    scheduler = diffusers.SASolverScheduler(
        predictor_order=predictor,
        corrector_order=corrector,
        tau_func=lambda t: tau,
        lower_order_final=lower_order_final,
    )
    ours = SA(predictor, corrector, tau=tau, lower_order_final=lower_order_final)
    compare(scheduler, ours, generator=generator())
