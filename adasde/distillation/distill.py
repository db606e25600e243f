"""Distillation: learn the coefficients with which few steps end where the teacher's many steps end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from adasde.distillation.config import NODE_BY_NODE, DistillSettings, cosine, recipe_from
from adasde.distillation.losses import Batch, Errors, Features, Losses, features_in_chunks, flat, of_images
from adasde.distillation.micro_batches import Bind, MicroBatches
from adasde.distillation.node_by_node import NodeByNode, replace_invalid
from adasde.distillation.progress import Progress, clip_gradients, coefficients_of, diverged
from adasde.distillation.recipes import CUSTOM, recipe_named
from adasde.distillation.student import Student
from adasde.distillation.teacher import Teacher
from adasde.distillation.warm_start import check_start, fitted, origin
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import latents
from adasde.sampling.schedules import schedule as make_schedule
from adasde.sampling.solvers import steps_for_nfe
from adasde.types import Denoiser
from adasde.utils.batching import in_chunks
from adasde.utils.distributed import ALONE, Group


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
    seed: int = 0,
) -> Iterator[Progress]:
    """Train coefficients on the grid ``sigmas`` [N+1]; the last ``Progress`` carries the result.

    The student's trajectory starts at the teacher's first state. With ``settings.loop`` end-to-end there is
    one optimiser step for every batch, and gradients flow back through all steps of the student; node-by-node
    is the loop of the paper's authors (``NodeByNode``).

    Args:
        denoise: ``D(x, sigma) -> x0``.
        batches: teacher trajectories; in a process group every process needs the same.
        afs: the first evaluation is the analytic first step.
        features: applied to the last state; see ``of_images``.
        real: features [n, F] of real samples (without ``features``: flat states), for the energy distance.
        bind: ``bind(seeds)`` is the denoiser of a conditional model for these seeds; None: ``denoise``.
        start: coefficients to begin with, on their own grid (see ``initial_student``).
        group: processes that share every batch and end with the same coefficients (see ``MicroBatches``).
        seed: of the initial parameters, where these are random (node-by-node).

    Raises:
        CoefficientsError: a ``start`` that does not fit.
        ParamsError: an energy distance without real samples, no loss at the last node, or fewer micro-batches
            than processes.
        DivergenceError: a loss or a gradient is not finite; the message has the step and the coefficients.
    """
    student = initial_student(sigmas, settings=settings, afs=afs, start=start, seed=seed)
    total = iterations(settings)
    optimiser = torch.optim.Adam(student.parameters(), lr=settings.lr)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, period(settings), eta_min=settings.lr_final)
    bound = bind or (lambda seeds: denoise)
    if settings.loop == NODE_BY_NODE:
        steps = _node_by_node(NodeByNode(student, features, group=group), optimiser, bound, batches)
    else:
        losses = Losses(settings, features, real)
        steps = _end_to_end(MicroBatches(losses, group), student, optimiser, bound, batches)
    for iteration, errors in enumerate(islice(steps, total), 1):
        rate.step()
        feature, energy = (None if error is None else float(error) for error in errors[1:])
        current = coefficients_of(student, iteration)
        yield Progress(iteration, total, tuple(errors.nodes.tolist()), feature, energy, current)


RELEASE = 0.5
"""Weight of teacher matching that falls to ``paired_final`` below which gamma is trained.

Matching sample by sample punishes any noise: it would end gamma before the energy distance has a say.
"""


def _end_to_end(
    micro_batches: MicroBatches,
    student: Student,
    optimiser: torch.optim.Optimizer,
    bind: Bind,
    batches: Iterable[Batch],
) -> Iterator[Errors]:
    """The errors of every batch, after its one optimiser step."""
    settings = student.settings
    total = iterations(settings)
    for iteration, batch in enumerate(batches, 1):
        matching = cosine(1.0, settings.paired_final, (iteration - 1) / total)
        micro_batches, errors = micro_batches.within_memory(bind, batch, student, matching=matching)
        if not clip_gradients(student, errors, settings.max_gradient):
            raise diverged(iteration, errors, student)
        if settings.paired_final < 1 and matching > RELEASE and student.gamma.grad is not None:
            student.gamma.grad.zero_()
        optimiser.step()
        yield errors


def _node_by_node(
    gradients: NodeByNode, optimiser: torch.optim.Optimizer, bind: Bind, batches: Iterable[Batch]
) -> Iterator[Errors]:
    """The errors of every batch, after an optimiser step for each of its nodes."""
    student = gradients.student
    for iteration, batch in enumerate(batches, 1):
        nodes = []
        for errors in gradients(bind, batch):
            if student.settings.reference:
                replace_invalid(student)
            elif not clip_gradients(student, errors, student.settings.max_gradient):
                raise diverged(iteration, errors, student)
            optimiser.step()
            nodes.append(errors)
        yield Errors(torch.cat([errors.nodes for errors in nodes]), nodes[-1].feature, None)


def iterations(settings: DistillSettings) -> int:
    """Number of batches; node by node a rest of the trajectories counts as one, as for the authors."""
    complete, rest = divmod(settings.trajectories, settings.batch)
    return max(1, complete + (settings.loop == NODE_BY_NODE and rest > 0))


def period(settings: DistillSettings) -> int:
    """Batches from the first learning rate to the last; for the authors kimg·1000 / batch + 1."""
    if settings.loop == NODE_BY_NODE:
        return settings.trajectories // settings.batch + 1
    return iterations(settings)


def initial_student(
    sigmas: Tensor, *, settings: DistillSettings, afs: bool, start: Coefficients | None = None, seed: int = 0
) -> Student:
    """Student at ``start`` with its grid, or on ``sigmas`` [N+1] at the fixed, stable start.

    Node by node that start is random, N(0, 1) from ``seed``.

    Raises:
        CoefficientsError: ``start`` has another form, budget or ends, other inner nodes where these have
            weight in the loss, or values outside the ranges of ``settings``.
    """
    student = Student(sigmas if start is None else start.sigmas, settings, afs=afs)
    if settings.loop == NODE_BY_NODE:
        student.to_random(torch.Generator().manual_seed(seed))
    else:
        student.to_start()
    if start is not None:
        check_start(start, student, sigmas, inner=settings.inner_weight > 0)
        student.to_table(start)
    return student


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


TAUGHT = ("solver", "inserted", "substeps")
"""Values of a recipe's section ``teacher`` that ``Teacher`` takes."""


def distill_coefficients(
    denoise: Denoiser,
    shape: tuple[int, ...],
    nfe: int,
    *,
    recipe: str = CUSTOM,
    schedule: str | None = None,
    rho: float | None = None,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    afs: bool = True,
    teacher: Teacher | None = None,
    pool: int = 2048,
    chunk: int = 256,
    features: Features | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
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
        recipe: name of a packaged recipe, such as ``paper`` (see ``RECIPES``), with its settings, grid and
            teacher, as far as the other arguments do not name them.
        schedule, rho, sigma_min, sigma_max: the grid, as in ``adasde.schedule``; None: the recipe's, or
            ``time_uniform`` and 1.
        afs: replace the first evaluation by the analytic first step.
        teacher: the solver of the targets; None: the recipe's, or ``Teacher()``.
        pool: number of teacher trajectories, ``chunk`` of them at a time.
        features: differentiable features of images [B, C, H, W] in [-1, 1], which ``decode`` makes of states
            (None: states are images); the images are clipped first. None leaves out their loss.
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
    values = recipe_named(recipe).at(nfe)
    taught = recipe_from(values.get("distill", {}) | settings)
    steps = steps_for_nfe(taught.solver, nfe, afs=afs, points=taught.points)
    usual: dict[str, Any] = {"name": "time_uniform", "rho": 1.0} | values.get("schedule", {})
    name: str = schedule or usual["name"]
    grid: dict[str, Any] = {"sigma_min": sigma_min, "sigma_max": sigma_max}
    grid["rho"] = usual["rho"] if rho is None else rho
    teacher = teacher or Teacher(**{k: v for k, v in values.get("teacher", {}).items() if k in TAUGHT})
    features = None if features is None else of_images(features, taught, decode)

    def states(chunk: range) -> Tensor:
        x = latents(chunk, shape, dtype=dtype, device=device)
        network, solve = bind(chunk) if bind else denoise, teacher.states
        return solve(network, x, schedule=name, steps=steps, inner=not taught.learn_grid, **grid)

    seeds = range(seed << 32, (seed << 32) + pool)
    trajectories = in_chunks(seeds, chunk, states, dim=1)
    if real is None and taught.energy_weight:
        real = features_in_chunks(features or flat, trajectories[-1])
    extractor = features if taught.feature_weight else None
    *_, last = distill(
        denoise,
        batches_of(trajectories, seeds, taught.batch, seed=seed, features=extractor),
        make_schedule(name, steps, **grid),
        settings=taught,
        afs=afs,
        features=features,
        real=real,
        bind=bind,
        start=fitted(start, nfe),
        seed=seed,
    )
    made = {"seed": seed, "pool": pool, "schedule": name, "rho": grid["rho"], "settings": asdict(taught)}
    return replace(last.coefficients, provenance=made | origin(start))
