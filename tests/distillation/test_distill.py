"""Distillation on closed-form denoisers: it learns, it is deterministic, it stops where it must."""

from __future__ import annotations

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor

import adasde
from adasde.distillation.distill import DistillSettings, Student, batches_of, distill, initial_student
from adasde.distillation.losses import Batch, Losses, of_images
from adasde.distillation.teacher import Teacher
from adasde.errors import DivergenceError, ParamsError, SolverError
from adasde.sampling.analytic import Gaussian
from adasde.sampling.schedules import schedule

QUICK = {"trajectories": 1920, "batch": 32, "pool": 128}


def end_error(table: adasde.Coefficients, dtype: torch.dtype = torch.float64) -> float:
    """Mean squared distance to a fine solution, from latents that training never saw."""
    start = adasde.latents(range(10_000, 10_256), (6,), dtype=dtype)
    exact = adasde.solve(small_mixture(), start, schedule("polynomial", 200), "dpm2")
    return float((adasde.sample(small_mixture(), start, table) - exact).square().mean())


@pytest.mark.parametrize("nfe", [3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beats_its_start_and_the_classical_solver(nfe: int, dtype: torch.dtype) -> None:
    learned = adasde.distill_coefficients(small_mixture(), (6,), nfe, dtype=dtype, **QUICK)
    grid = learned.sigmas
    start = initial_student(grid, settings=DistillSettings(), afs=True)().sigmas
    assert learned.nfe == nfe
    error = end_error(learned)
    assert error < 0.5 * end_error(adasde.neutral(start, afs=True))
    with torch.no_grad():
        assert error < 0.8 * end_error(initial_student(grid, settings=DistillSettings(), afs=True)())


@pytest.mark.parametrize(("points", "afs", "nfe"), [(2, True, 5), (1, False, 4)])
def test_more_points_and_no_afs(points: int, afs: bool, nfe: int) -> None:
    learned = adasde.distill_coefficients(small_mixture(), (6,), nfe, afs=afs, points=points, **QUICK)
    assert (learned.nfe, learned.points, learned.afs) == (nfe, points, afs)
    first = next(iter(run(learned.sigmas, DistillSettings(points=points), afs))).coefficients
    assert end_error(learned) < end_error(first)


def run(grid: Tensor, settings: DistillSettings, afs: bool = True, denoise=None, features=None):
    states = adasde.Teacher().states(
        small_mixture(), adasde.latents(range(64), (6,)), schedule="time_uniform", steps=len(grid) - 1,
        sigma_min=0.002, sigma_max=80.0, rho=1.0,
    )  # fmt: skip
    batches = batches_of(states, range(64), settings.batch, seed=0)
    return distill(denoise or small_mixture(), batches, grid, settings=settings, afs=afs, features=features)


def test_same_seed_same_table_other_seed_other_table() -> None:
    tables = [adasde.distill_coefficients(small_mixture(), (6,), 5, seed=seed, **QUICK) for seed in (3, 3, 4)]
    torch.testing.assert_close(tables[0].midpoint, tables[1].midpoint, rtol=0, atol=0)
    assert not torch.equal(tables[0].midpoint, tables[2].midpoint)
    torch.testing.assert_close(tables[0].midpoint, tables[2].midpoint, rtol=0, atol=0.1)


def test_progress_counts_and_reports_every_node() -> None:
    settings = DistillSettings(trajectories=320, batch=32)
    seen = list(run(schedule("time_uniform", 3, rho=1), settings, features=lambda x: x[:, :2] ** 2))
    assert [progress.iteration for progress in seen] == list(range(1, 11)) and seen[0].total == 10
    assert all(len(progress.losses) == 3 and progress.feature_loss is not None for progress in seen)


def test_a_condition_is_bound_to_the_seeds_of_every_batch() -> None:
    """Odd seeds have the mirror image of the data of even ones; both halves are learned equally well."""

    def bind(seeds):
        sign = torch.tensor([[1 - 2 * (seed % 2)] for seed in seeds], dtype=torch.float64)
        return lambda x, sigma: sign * small_mixture()(sign * x, sigma)

    table = adasde.distill_coefficients(bind([0]), (6,), 5, dtype=torch.float64, bind=bind, **QUICK)
    seeds = range(10_000, 10_256)
    start = adasde.latents(seeds, (6,), dtype=torch.float64)
    exact = adasde.solve(bind(seeds), start, schedule("polynomial", 200), "dpm2")
    error = (adasde.sample(bind(seeds), start, table) - exact).square().flatten(1).mean(1)
    assert float(error.mean()) < 0.03
    assert float(error[1::2].mean()) < 3 * float(error[::2].mean())


def test_feature_loss_is_differentiated_through_the_whole_walk() -> None:
    grid = schedule("time_uniform", 2, rho=1)
    settings = DistillSettings(pixel_weight=0.0, inner_weight=0.0)
    table = initial_student(grid, settings=settings, afs=True)
    batch = Batch(range(8), torch.randn(3, 8, 6, dtype=torch.float64) * grid[:, None, None])
    feature = Losses(settings, features=lambda x: x)(small_mixture(), batch, table()).feature
    assert feature is not None
    feature.backward()
    assert float(table.midpoint.grad[0].abs()) > 0 and float(table.midpoint.grad[1].abs()) > 0


@pytest.mark.parametrize(
    ("clip", "decode", "beyond"),
    [(True, None, False), (False, None, True), (True, torch.clone, True)],
    ids=["images", "images as they are", "latents"],
)
def test_the_last_error_of_images_is_that_of_the_visible_range(clip: bool, decode, beyond: bool) -> None:
    """A teacher beyond [-1, 1] differs from one at its bounds where states are not clipped images."""
    grid = schedule("time_uniform", 2, rho=1)
    settings = DistillSettings(clip=clip, inner_weight=0.0)
    losses = Losses(settings, of_images(lambda images: images, settings, decode))
    start = torch.randn(1, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * grid[0]
    ends = 2 * torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    errors = []
    for end in (ends, ends.clamp(-1, 1)):
        batch = Batch(range(8), torch.cat([start, end[None]]))
        errors.append(float(losses(small_mixture(), batch, adasde.neutral(grid, afs=True)).nodes[-1]))
    assert (errors[0] != errors[1]) == beyond


@pytest.mark.parametrize("recipe", ["paper", "dyweight", "ld3", "epd"])
def test_a_loss_of_features_needs_an_extractor(recipe: str) -> None:
    with pytest.raises(ParamsError, match=r"no extractor of them. Set distill\.pixel_weight to 1"):
        adasde.distill_coefficients(small_mixture(), (6,), 5, recipe=recipe, pool=8, dtype=torch.float64)


@pytest.mark.parametrize("solver", ["dpm2", "heun"])
def test_a_plug_in_is_better_than_its_solver_where_two_steps_overshoot(solver: str) -> None:
    """At 3 evaluations these images end far out of [-1, 1]; their unclipped error would be learned alone."""
    from adasde.experiments.bench.targets import target

    digits, grid = target("digits"), schedule("time_uniform", 2, rho=1)
    table = adasde.distill_coefficients(
        digits.bind([0]), digits.shape, 3, features=digits.features, bind=digits.bind, pool=1024,
        solver=solver, trajectories=8192, teacher=Teacher("ipndm", inserted=9, substeps=1),
    )  # fmt: skip
    seeds = range(900_000_000, 900_001_000)
    start, denoise = adasde.latents(seeds, digits.shape), digits.bind(seeds)
    before = adasde.solve(denoise, start, grid, solver, afs=True)
    after = adasde.sample(denoise, start, table, adasde.SeededNoise(seeds))
    fids = [digits.evaluate(states)["fid"] for states in (after, before)]
    assert float(before.abs().max()) > 5 and fids[0] < 0.8 * fids[1]


def test_gamma_is_learned_where_it_is_allowed() -> None:
    grid = schedule("time_uniform", 3, rho=1)
    table = list(run(grid, DistillSettings(gamma_max=0.05, trajectories=640)))[-1].coefficients
    off = list(run(grid, DistillSettings(gamma_max=0.0, trajectories=640)))[-1].coefficients
    with torch.no_grad():
        start = initial_student(grid, settings=DistillSettings(gamma_max=0.05), afs=True)()
    assert float(off.gamma.abs().max()) == 0.0
    # a teacher-matching loss against a deterministic teacher punishes noise: it must be learned away
    assert float(table.gamma[0]) == 0.0 and bool((table.gamma[1:] < start.gamma[1:]).all())
    assert bool((start.gamma[1:] > 1e-3).all())


def breaks_at(call: int):
    calls = 0

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        out = small_mixture()(x, sigma)
        return out * float("nan") if calls >= call else out

    return denoise


def test_a_loss_that_is_not_finite_stops_with_step_loss_and_table() -> None:
    steps = run(schedule("time_uniform", 3, rho=1), DistillSettings(), denoise=breaks_at(12))
    with pytest.raises(
        DivergenceError, match=r"iteration 3: the loss \[.*nan.*'midpoint': .*Nothing was written"
    ):
        list(steps)


def test_gradient_that_is_not_finite_stops_too() -> None:
    grid = schedule("time_uniform", 2, rho=1)
    # sqrt has an infinite slope at 0: the loss is finite, its gradient is not
    steps = run(grid, DistillSettings(feature_weight=1.0), features=lambda x: (0 * x).sqrt())
    with pytest.raises(DivergenceError, match="iteration 1"):
        list(steps)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"nfe": 4}, SolverError, "nfe=4 is impossible; the nearest are 3 and 5"),
        (
            {"nfe": 5, "learning_rate": 1.0},
            ParamsError,
            "unknown setting of the distillation 'learning_rate'",
        ),
        ({"nfe": 5, "schedule": "cosine"}, SolverError, "unknown schedule 'cosine'"),
    ],
)
def test_refusals(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        adasde.distill_coefficients(Gaussian(), (2,), **arguments)


@pytest.mark.long
def test_no_seed_of_twenty_diverges() -> None:
    enough = {"trajectories": 6400, "batch": 64, "pool": 256}
    errors = [
        end_error(adasde.distill_coefficients(small_mixture(), (6,), 7, seed=seed, **enough))
        for seed in range(20)
    ]
    middle = sorted(errors)[10]
    assert max(errors) < 2 * middle


def test_start_is_the_same_for_everyone() -> None:
    grid = schedule("time_uniform", 4, rho=1)
    tables: list[Student] = [initial_student(grid, settings=DistillSettings(), afs=True) for _ in range(2)]
    torch.testing.assert_close(tables[0]().midpoint, tables[1]().midpoint, rtol=0, atol=0)
    assert tables[0]().midpoint.flatten().tolist() == pytest.approx([0.2, 0.45, 0.45, 0.2])
