"""Distillation: learn the coefficient table so that few steps end where the teacher's many steps end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adasde.distillation.config import DistillSettings, cosine, recipe_from
from adasde.distillation.losses import Batch, Errors, Features, Losses, flat, in_parts
from adasde.distillation.micro_batches import Bind, MicroBatches
from adasde.distillation.student import Student
from adasde.distillation.teacher import Teacher
from adasde.distillation.warm_start import check_start, fitted, origin
from adasde.errors import CoefficientsError, DivergenceError
from adasde.sampling.coefficients import MULTISTEP, OWN, Coefficients
from adasde.sampling.noise import latents
from adasde.sampling.schedules import schedule as make_schedule
from adasde.sampling.solvers import adams_bashforth, evaluations_of, steps_for_nfe
from adasde.types import Denoiser
from adasde.utils.batching import in_chunks
from adasde.utils.distributed import ALONE, Group


@dataclass(frozen=True)
class Progress:
    """One optimiser step.

    ``losses``: mean squared error at the nodes 1..N (or the last alone) before the step; ``feature_loss``:
    that of the features at the last node, None without an extractor; ``energy``: the energy distance to
    real samples, None where it has no weight; ``coefficients``: the table after the step.
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
    """Train a table on the grid ``sigmas`` [N+1]; the last ``Progress`` carries the result.

    The student walks from the teacher's start through all its steps, and the errors flow back through
    the whole walk: a step learns what later steps make of its result. (The release trains every step
    for itself, 2510.23285, algorithm 1.) ``features`` sees the last state as it is, not clipped to the
    range of images, so that there is a gradient everywhere. ``real`` [n, F] are the features of real
    samples (without ``features``, the flat states), for the energy distance.

    ``bind(seeds)`` gives the denoiser of a conditional model for the batch of these seeds; None: the same
    ``denoise`` for all. ``start`` is the table to begin with, on its own grid (see ``start_table``).
    The processes of ``group`` share every batch and end with the same table (see ``MicroBatches``); all must
    be given the same batches.

    Raises:
        CoefficientsError: a ``start`` that does not fit.
        ParamsError: an energy distance without real samples, or fewer pieces of a batch than processes.
        DivergenceError: a loss or a gradient is not finite; the message has the step and the table.
    """
    pieces = MicroBatches(Losses(settings, features, real), group)
    table = start_table(sigmas, settings=settings, afs=afs, start=start)
    total = iterations(settings)
    optimiser = torch.optim.Adam(table.parameters(), lr=settings.lr)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total, eta_min=settings.lr_final)
    with torch.no_grad():
        current = checked_table(table, 1)
    for iteration, batch in zip(range(1, total + 1), batches, strict=False):
        paired = cosine(1.0, settings.paired_final, (iteration - 1) / total)
        pieces, errors = pieces.within_memory(bind or (lambda seeds: denoise), batch, table, paired=paired)
        if not descends(table, errors, settings.max_gradient):
            raise diverged(iteration, errors, current)
        optimiser.step()
        rate.step()
        with torch.no_grad():
            current = checked_table(table, iteration)
        feature, energy = (None if error is None else float(error) for error in errors[1:])
        yield Progress(iteration, total, tuple(errors.nodes.tolist()), feature, energy, current)


def descends(table: Student, errors: Errors, max_gradient: float) -> bool:
    """Scale the gradients down to ``max_gradient``; whether they and the errors are finite."""
    norm = torch.nn.utils.clip_grad_norm_(table.parameters(), max_gradient)
    values = [error for error in errors if error is not None]
    return all(bool(value.isfinite().all()) for value in (norm, *values))


def iterations(settings: DistillSettings) -> int:
    """Optimiser steps that the recipe takes."""
    return max(1, settings.trajectories // settings.batch)


def start_table(
    sigmas: Tensor, *, settings: DistillSettings, afs: bool, start: Coefficients | None = None
) -> Student:
    """The module to train: at ``start`` with its grid, or on ``sigmas`` at the fixed, stable start.

    Raises:
        CoefficientsError: ``start`` has another form, budget or ends, inner nodes of its own where these have
            weight in the loss, or numbers that the settings do not allow.
    """
    own = settings.solver == OWN
    table = Student(
        sigmas if start is None else start.sigmas,
        points=settings.points if own else evaluations_of(settings.solver),
        solver=settings.solver,
        options=settings.solver_options,
        learn_grid=settings.learn_grid,
        afs=afs,
        gamma_max=settings.gamma_max,
        scale_dir=settings.scale_dir,
        scale_time=settings.scale_time,
        neutral=adams_bashforth(len(sigmas) - 1, settings.history) if settings.solver == MULTISTEP else None,
    )
    table.to_start()
    if start is not None:
        check_start(start, table, sigmas, inner=settings.inner_weight > 0)
        table.to_table(start)
    return table


def checked_table(table: Student, iteration: int) -> Coefficients:
    """The table of now, or a DivergenceError where its parameters have left all bounds."""
    try:
        current: Coefficients = table()
        return current
    except CoefficientsError as error:
        raise DivergenceError(f"distillation diverged at iteration {iteration}: {error} {ADVICE}") from error


def diverged(iteration: int, errors: Errors, table: Coefficients) -> DivergenceError:
    """The error for a loss or gradient that is not finite."""
    numbers = {
        name: getattr(table, name).tolist() for name in ("gamma", "midpoint", "direction_scale", "time_scale")
    }
    loss = [*errors.nodes.tolist(), *(float(error) for error in errors[1:] if error is not None)]
    return DivergenceError(
        f"distillation diverged at iteration {iteration}: the loss {loss} or its gradient is not finite, "
        f"with coefficients {numbers}. {ADVICE}"
    )


ADVICE = "Nothing was written. Lower distill.lr, or look for NaN in the trajectories and the denoiser."


def batches_of(
    states: Tensor, seeds: Sequence[int], size: int, *, seed: int, features: Features | None = None
) -> Iterator[Batch]:
    """Endless batches of ``size`` of the trajectories ``states`` [N+1, T, *shape], drawn by ``seed``.

    The ``features`` of their last states are computed once.
    """
    known = None if features is None else in_parts(features, states[-1])
    generator = torch.Generator().manual_seed(seed)
    while True:
        rows = torch.randint(len(seeds), (size,), generator=generator).to(states.device)
        taken = None if known is None else known[rows]
        yield Batch([seeds[row] for row in rows.tolist()], states[:, rows], taken)


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
    """The whole recipe on any callable denoiser: teacher trajectories, then distillation.

    Args:
        denoise: ``D(x, sigma) -> x0`` for x [B, *shape] in ``dtype`` on ``device``.
        shape: of one sample, for instance ``(3, 32, 32)``.
        nfe: network evaluations per sample that the result may spend.
        schedule, rho, sigma_min, sigma_max: the grid, as in ``adasde.schedule``.
        afs: save the first evaluation by the analytic first step.
        teacher: which solver makes the targets; None means the default ``Teacher()``.
        pool: number of teacher trajectories; ``chunk`` of them are computed together.
        features: differentiable features of the last state; None leaves their loss out.
        real: features [n, F] of real samples for the energy distance (without ``features``: the samples,
            flat); None: those of the teacher's samples.
        bind: the denoiser for given seeds, where it depends on them (class labels); see ``distill``.
        start: the table to begin with, interpolated where its NFE differs; None: the fixed, stable start.
        seed: picks trajectories, their order and the injected noise. Same seed, same result.
        settings: fields of ``DistillSettings``.

    Raises:
        SolverError: ``nfe`` does not fit, or a grid that is none.
        ParamsError: an unknown name among ``settings``.
        CoefficientsError: a ``start`` that does not fit.
        DivergenceError: a loss or gradient that is not finite.
    """
    recipe = recipe_from(settings)
    steps = steps_for_nfe(recipe.solver, nfe, afs=afs, points=recipe.points)
    ends: dict[str, Any] = {"sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho}
    sigmas = make_schedule(schedule, steps, **ends)

    def states(piece: range) -> Tensor:
        start = latents(piece, shape, dtype=dtype, device=device)
        network = bind(piece) if bind else denoise
        walk = (teacher or Teacher()).states
        return walk(network, start, schedule=schedule, steps=steps, inner=not recipe.learn_grid, **ends)

    seeds = range(seed << 32, (seed << 32) + pool)
    walked = in_chunks(seeds, chunk, states, dim=1)
    if real is None and recipe.energy_weight:
        real = in_parts(features or flat, walked[-1])
    paired = features if recipe.feature_weight else None
    *_, last = distill(
        denoise,
        batches_of(walked, seeds, recipe.batch, seed=seed, features=paired),
        sigmas,
        settings=recipe,
        afs=afs,
        features=features,
        real=real,
        bind=bind,
        start=fitted(start, nfe),
    )
    made = {"seed": seed, "pool": pool, "schedule": schedule, "rho": rho, "settings": asdict(recipe)}
    return replace(last.coefficients, provenance=made | origin(start))
