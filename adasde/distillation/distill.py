"""Distillation: learn the coefficients with which few steps end where the teacher's many steps end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adasde.distillation.config import DistillSettings, cosine, recipe_from
from adasde.distillation.losses import Batch, Errors, Features, Losses, features_in_chunks, flat
from adasde.distillation.micro_batches import Bind, MicroBatches
from adasde.distillation.student import Student
from adasde.distillation.teacher import Teacher
from adasde.distillation.warm_start import check_start, fitted, origin
from adasde.errors import CoefficientsError, DivergenceError
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import latents
from adasde.sampling.schedules import schedule as make_schedule
from adasde.sampling.solvers import steps_for_nfe
from adasde.types import Denoiser
from adasde.utils.batching import in_chunks
from adasde.utils.distributed import ALONE, Group


@dataclass(frozen=True)
class Progress:
    """One optimiser step.

    Attributes:
        iteration, total: number of this step, from 1, and of all steps.
        losses: mean squared error at the nodes 1..N (or the last alone), before the step.
        feature_loss: mean squared error of features at the last node; None where it has no weight.
        energy: energy distance to real samples; None where it has no weight.
        coefficients: after the step.
    """

    iteration: int
    total: int
    losses: tuple[float, ...]
    feature_loss: float | None
    energy: float | None
    coefficients: Coefficients


def distill(
    denoise: Denoiser,
    batches: Iterable[Batch],
    sigmas: Tensor,
    *,
    settings: DistillSettings,
    afs: bool = True,
    features: Features | None = None,
    real: Tensor | None = None,
    bind: Bind | None = None,
    start: Coefficients | None = None,
    group: Group = ALONE,
) -> Iterator[Progress]:
    """Train coefficients on the grid ``sigmas`` [N+1]; the last ``Progress`` carries the result.

    Training is end to end: the student's trajectory starts at the teacher's first state, and gradients flow
    back through all of its steps. (The reference implementation trains every step by itself, 2510.23285,
    algorithm 1.)

    Args:
        denoise: ``D(x, sigma) -> x0``.
        batches: teacher trajectories; in a process group every process needs the same.
        afs: the first evaluation is the analytic first step.
        features: applied to the last state, which is not clipped to the range of images, so that there is a
            gradient everywhere.
        real: features [n, F] of real samples (without ``features``: flat states), for the energy distance.
        bind: ``bind(seeds)`` is the denoiser of a conditional model for these seeds; None: ``denoise``.
        start: coefficients to begin with, on their own grid (see ``initial_student``).
        group: processes that share every batch and end with the same coefficients (see ``MicroBatches``).

    Raises:
        CoefficientsError: a ``start`` that does not fit.
        ParamsError: an energy distance without real samples, or fewer micro-batches than processes.
        DivergenceError: a loss or a gradient is not finite; the message has the step and the coefficients.
    """
    micro_batches = MicroBatches(Losses(settings, features, real), group)
    student = initial_student(sigmas, settings=settings, afs=afs, start=start)
    total = iterations(settings)
    optimiser = torch.optim.Adam(student.parameters(), lr=settings.lr)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total, eta_min=settings.lr_final)
    bind = bind or (lambda seeds: denoise)
    current = coefficients_of(student, 1)
    for iteration, batch in zip(range(1, total + 1), batches, strict=False):
        matching = cosine(1.0, settings.paired_final, (iteration - 1) / total)
        micro_batches, errors = micro_batches.within_memory(bind, batch, student, matching=matching)
        if not clip_gradients(student, errors, settings.max_gradient):
            raise diverged(iteration, errors, current)
        optimiser.step()
        rate.step()
        current = coefficients_of(student, iteration)
        feature, energy = (None if error is None else float(error) for error in errors[1:])
        yield Progress(iteration, total, tuple(errors.nodes.tolist()), feature, energy, current)


def iterations(settings: DistillSettings) -> int:
    """Number of optimiser steps."""
    return max(1, settings.trajectories // settings.batch)


def initial_student(
    sigmas: Tensor, *, settings: DistillSettings, afs: bool, start: Coefficients | None = None
) -> Student:
    """Student at ``start`` with its grid, or on ``sigmas`` [N+1] at the fixed, stable start.

    Raises:
        CoefficientsError: ``start`` has another form, budget or ends, other inner nodes where these have
            weight in the loss, or values outside the ranges of ``settings``.
    """
    student = Student(sigmas if start is None else start.sigmas, settings, afs=afs)
    student.to_start()
    if start is not None:
        check_start(start, student, sigmas, inner=settings.inner_weight > 0)
        student.to_table(start)
    return student


def clip_gradients(student: Student, errors: Errors, max_gradient: float) -> bool:
    """Clip the gradients to the norm ``max_gradient``; whether they and ``errors`` are finite."""
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), max_gradient)
    values = [error for error in errors if error is not None]
    return all(bool(value.isfinite().all()) for value in (norm, *values))


ADVICE = "Nothing was written. Lower distill.lr, or look for NaN in the trajectories and the denoiser."


@torch.no_grad()
def coefficients_of(student: Student, iteration: int) -> Coefficients:
    """Present coefficients of ``student``, or a DivergenceError where they are out of all bounds."""
    try:
        return student.forward()
    except CoefficientsError as error:
        raise DivergenceError(f"distillation diverged at iteration {iteration}: {error} {ADVICE}") from error


def diverged(iteration: int, errors: Errors, coefficients: Coefficients) -> DivergenceError:
    """The error for a loss or gradient that is not finite."""
    names = ("gamma", "midpoint", "direction_scale", "time_scale")
    numbers = {name: getattr(coefficients, name).tolist() for name in names}
    loss = [*errors.nodes.tolist(), *(float(error) for error in errors[1:] if error is not None)]
    return DivergenceError(
        f"distillation diverged at iteration {iteration}: the loss {loss} or its gradient is not finite, "
        f"with coefficients {numbers}. {ADVICE}"
    )


def batches_of(
    states: Tensor, seeds: Sequence[int], size: int, *, seed: int, features: Features | None = None
) -> Iterator[Batch]:
    """Endless batches of ``size`` of the trajectories ``states`` [N+1, T, *shape], drawn by ``seed``.

    The ``features`` of their last states are computed once.
    """
    known = None if features is None else features_in_chunks(features, states[-1])
    generator = torch.Generator().manual_seed(seed)
    while True:
        rows = torch.randint(len(seeds), (size,), generator=generator).to(states.device)
        drawn = None if known is None else known[rows]
        yield Batch([seeds[row] for row in rows.tolist()], states[:, rows], drawn)


def distill_coefficients(
    denoise: Denoiser,
    shape: tuple[int, ...],
    nfe: int,
    *,
    schedule: str = "time_uniform",
    rho: float = 1.0,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    afs: bool = True,
    teacher: Teacher | None = None,
    pool: int = 2048,
    chunk: int = 256,
    features: Features | None = None,
    real: Tensor | None = None,
    bind: Bind | None = None,
    start: Coefficients | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    **settings: Any,
) -> Coefficients:
    """Distil coefficients for any callable denoiser: teacher trajectories, then training.

    Args:
        denoise: ``D(x, sigma) -> x0`` for x [B, *shape] in ``dtype`` on ``device``.
        shape: of one sample, for instance ``(3, 32, 32)``.
        nfe: network evaluations per sample of the result.
        schedule, rho, sigma_min, sigma_max: the grid, as in ``adasde.schedule``.
        afs: replace the first evaluation by the analytic first step.
        teacher: the solver of the targets; None means the default ``Teacher()``.
        pool: number of teacher trajectories, ``chunk`` of them at a time.
        features: differentiable features of the last state; None leaves out their loss.
        real: features [n, F] of real samples for the energy distance (without ``features``: the samples,
            flat); None: those of the teacher's samples.
        bind: the denoiser for given seeds, where it depends on them (class labels); see ``distill``.
        start: coefficients to begin with, interpolated where their NFE differs; None: a fixed, stable start.
        seed: of trajectories, their order and the injected noise. The same seed gives the same result.
        settings: fields of ``DistillSettings``.

    Raises:
        SolverError: ``nfe`` is not reachable with this solver, or the schedule is invalid.
        ParamsError: an unknown name among ``settings``.
        CoefficientsError: a ``start`` that does not fit.
        DivergenceError: a loss or gradient that is not finite.
    """
    recipe = recipe_from(settings)
    steps = steps_for_nfe(recipe.solver, nfe, afs=afs, points=recipe.points)
    grid: dict[str, Any] = {"sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho}

    def states(chunk: range) -> Tensor:
        x = latents(chunk, shape, dtype=dtype, device=device)
        network, solve = bind(chunk) if bind else denoise, (teacher or Teacher()).states
        return solve(network, x, schedule=schedule, steps=steps, inner=not recipe.learn_grid, **grid)

    seeds = range(seed << 32, (seed << 32) + pool)
    trajectories = in_chunks(seeds, chunk, states, dim=1)
    if real is None and recipe.energy_weight:
        real = features_in_chunks(features or flat, trajectories[-1])
    extractor = features if recipe.feature_weight else None
    *_, last = distill(
        denoise,
        batches_of(trajectories, seeds, recipe.batch, seed=seed, features=extractor),
        make_schedule(schedule, steps, **grid),
        settings=recipe,
        afs=afs,
        features=features,
        real=real,
        bind=bind,
        start=fitted(start, nfe),
    )
    made = {"seed": seed, "pool": pool, "schedule": schedule, "rho": rho, "settings": asdict(recipe)}
    return replace(last.coefficients, provenance=made | origin(start))
