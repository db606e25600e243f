"""Micro-batches add up to the gradient of the batch, with the same bytes for any number of processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor

import adasde
from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import initial_student
from adasde.distillation.losses import Batch, Errors, Losses
from adasde.distillation.micro_batches import MicroBatches, micro_batches_of
from adasde.distillation.student import Student
from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP
from adasde.utils.distributed import Group

GRID = adasde.schedule("time_uniform", 3)
RECIPES: list[dict[str, Any]] = [
    {"inner_weight": 0.1},
    {"solver": MULTISTEP, "learn_grid": True, "energy_weight": 3.0, "gamma_max": 0.5},
    {"solver": "ipndm", "energy_weight": 1.0, "feature_weight": 0.0},
]


def batch(count: int) -> Batch:
    states = torch.randn(4, count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(range(count), states * GRID[:, None, None])


def features(states: Tensor) -> Tensor:
    return torch.cat([states, states**2], dim=1)


def losses(settings: DistillSettings) -> Losses:
    real = torch.randn(50, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return Losses(settings, features, real)


def bind(seeds: Any) -> Any:
    """A denoiser that belongs to the seeds: a micro-batch must be given its own."""
    sign = torch.tensor([[1 - 2 * (seed % 2)] for seed in seeds], dtype=torch.float64)
    return lambda x, sigma: sign * small_mixture()(sign * x, sigma)


def table_of(settings: DistillSettings) -> Student:
    return initial_student(GRID, settings=settings, afs=True)


def gradients(table: Student) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in table.parameters()])


def backward(settings: DistillSettings, size: int, group: Group | None = None) -> tuple[Errors, Tensor]:
    table = table_of(settings)
    parts = MicroBatches(losses(replace(settings, micro_batch=size)), group or Group())
    return parts.backward(bind, batch(settings.batch), table), gradients(table)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_whole_batch_has_the_gradient_of_the_loss(recipe: dict[str, Any]) -> None:
    settings = DistillSettings(batch=10, **recipe)
    table = table_of(settings)
    whole = losses(settings)
    errors = whole(bind(range(10)), batch(10), table())
    whole.total(errors, table.sigmas()).backward()
    expected = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for parameter in table.parameters()
    ]
    found, gradient = backward(settings, 0)
    torch.testing.assert_close(gradient, torch.cat([part.flatten() for part in expected]))
    torch.testing.assert_close(found.nodes, errors.nodes.detach())
    assert float(gradient.abs().max()) > 1e-3


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [1, 3, 5, 9, 20])
def test_pieces_add_up(recipe: dict[str, Any], size: int) -> None:
    settings = DistillSettings(batch=10, **recipe)
    (errors, gradient), (expected, whole) = backward(settings, size), backward(settings, 0)
    torch.testing.assert_close(gradient, whole, rtol=1e-9, atol=1e-12)
    for error, other in zip(errors, expected, strict=True):
        assert (error is None) is (other is None)
        if error is not None:
            torch.testing.assert_close(error, other, rtol=1e-9, atol=1e-12)


def test_pieces_are_all_of_the_batch_in_order() -> None:
    parts = micro_batches_of(batch(10), 4)
    assert [list(part.batch.seeds) for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sum(part.share for part in parts) == pytest.approx(1)


@pytest.mark.parametrize(
    ("world", "size", "remedy"),
    [
        (2, 0, "Set micro_batch to 64"),
        (4, 64, "Set micro_batch to 32"),
        (200, 1, "Start 128 processes"),
    ],
)
def test_fewer_pieces_than_processes_are_refused(world: int, size: int, remedy: str) -> None:
    settings = DistillSettings(micro_batch=size)
    with pytest.raises(
        ParamsError, match=rf"{world} processes share .*micro_batch = {size} has .* {remedy} or less"
    ):
        MicroBatches(Losses(settings), Group(0, world))
