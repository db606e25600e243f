"""The loop of the paper's authors beside the golden data: what it refuses, shares and replaces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor

import adasde
from adasde.distillation import DistillSettings, Student, Teacher
from adasde.distillation.config import NODE_BY_NODE
from adasde.distillation.distill import batches_of, distill, iterations, period
from adasde.distillation.losses import of_images
from adasde.distillation.node_by_node import NodeByNode, replace_invalid
from adasde.distillation.recipes import RECIPES, recipe_named
from adasde.errors import DivergenceError, ParamsError
from adasde.sampling.schedules import schedule

GRID: dict[str, Any] = {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 1.0}
PAPER = RECIPES["paper"].at(5)["distill"] | {"pixel_weight": 1.0, "batch": 16, "trajectories": 320}


def states(count: int = 64, steps: int = 3) -> Tensor:
    latents = adasde.latents(range(count), (6,), dtype=torch.float64)
    return Teacher().states(small_mixture(), latents, schedule="time_uniform", steps=steps, **GRID)


def student(**changes: Any) -> Student:
    made = Student(schedule("time_uniform", 3, **GRID), DistillSettings(**PAPER | changes), afs=True)
    made.to_random(torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("nfe", [3, 4, 5, 9, 15])
def test_every_recipe_has_settings_at_every_budget(name: str, nfe: int) -> None:
    assert DistillSettings(**RECIPES[name].at(nfe).get("distill", {}))


def test_unknown_recipes_are_refused_with_the_nearest() -> None:
    with pytest.raises(ParamsError, match="paper"):
        recipe_named("papr")


@pytest.mark.parametrize(("nfe", "batches", "rates"), [(3, 313, 313), (5, 157, 157), (9, 313, 313)])
def test_batches_and_rates_are_those_of_the_authors(nfe: int, batches: int, rates: int) -> None:
    settings = DistillSettings(**RECIPES["paper"].at(nfe)["distill"])
    assert (iterations(settings), period(settings)) == (batches, rates)


@pytest.mark.parametrize("changes", [{"learn_grid": True, "inner_weight": 0.0}, {"energy_weight": 1.0}])
def test_settings_that_it_cannot_have_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=NODE_BY_NODE):
        DistillSettings(**PAPER | changes)


def test_reference_belongs_to_this_loop() -> None:
    with pytest.raises(ParamsError, match=f"set loop to {NODE_BY_NODE}"):
        DistillSettings(reference=True)


def test_a_last_node_without_loss_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"Set distill\.pixel_weight to 1"):
        NodeByNode(student(pixel_weight=0.0))


def test_the_loss_at_a_node_trains_all_steps_before_it_and_none_after() -> None:
    module = student()
    batch = next(batches_of(states(), range(64), 16, seed=0))
    for node, _ in enumerate(NodeByNode(module)(lambda seeds: small_mixture(), batch)):
        trained = module.midpoint.grad[:, 0] != 0
        assert trained.tolist() == [row <= node for row in range(3)]


@pytest.mark.parametrize("size", [1, 5, 16])
def test_micro_batches_have_the_gradient_of_the_batch(size: int) -> None:
    batch = next(batches_of(states(), range(64), 16, seed=0))
    found = []
    for micro_batch in (0, size):
        module = student(micro_batch=micro_batch)
        for errors in NodeByNode(module)(lambda seeds: small_mixture(), batch):
            flat = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])
            found.append(torch.cat([errors.nodes, flat]))
    for one, other in zip(found[:3], found[3:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reference", [False, True])
def test_invalid_gradients_are_an_error_unless_the_reference_is_asked_for(reference: bool) -> None:
    module = student(reference=reference)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    module.gamma.grad[0], module.gamma.grad[1] = torch.inf, -torch.inf
    replace_invalid(module)
    assert module.gamma.grad.tolist() == [1e5, -1e5, 0.0]
    assert not module.midpoint.grad.any()

    def nan_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return x * torch.nan

    batches = batches_of(states(), range(64), 16, seed=0)
    steps = distill(nan_denoiser, batches, module.start, settings=module.settings)
    if reference:
        assert next(steps).iteration == 1
    else:
        with pytest.raises(DivergenceError, match="iteration 1"):
            next(steps)


def test_the_recipe_by_name_learns_and_beats_its_start() -> None:
    table = adasde.distill_coefficients(
        small_mixture(),
        (6,),
        5,
        recipe="paper",
        pixel_weight=1.0,
        trajectories=1280,
        pool=256,
        dtype=torch.float64,
    )
    assert (table.nfe, table.afs, table.points) == (5, True, 1)
    assert float(table.gamma[1:].min()) >= 2e-4
    latents = adasde.latents(range(1000, 1064), (6,), dtype=torch.float64)
    exact = adasde.solve(small_mixture(), latents, schedule("polynomial", 80, **GRID | {"rho": 7.0}), "heun")
    errors = [
        float((adasde.sample(small_mixture(), latents, one) - exact).square().mean())
        for one in (table, adasde.neutral(table.sigmas, afs=True))
    ]
    assert errors[0] < errors[1]


def test_images_are_seen_as_the_authors_see_them() -> None:
    ours, theirs = DistillSettings(), DistillSettings(**PAPER)
    images = torch.tensor([[-3.0, -1.0, 0.0, 0.5, 3.0]])
    seen = of_images(lambda x: x, theirs)(images)
    torch.testing.assert_close((seen + 1) * 127.5, (127.5 * images + 128).clip(0, 255))
    assert of_images(lambda x: x, ours)(images).tolist() == [[-1.0, -1.0, 0.0, 0.5, 1.0]]
    assert of_images(lambda x: x, DistillSettings(clip=False))(images).tolist() == images.tolist()
    assert of_images(lambda x: x, ours, lambda states: states / 10)(images).tolist() == (images / 10).tolist()
