"""Work that a device has no memory for goes on in halves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from closed_form import small_mixture
from torch import Tensor

import adasde
from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import batches_of, distill
from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP
from adasde.utils.batching import in_chunks
from adasde.utils.distributed import Group


class Small:
    """A denoiser with memory for ``limit`` samples; ``asked``: how many it was given each time."""

    def __init__(self, limit: int) -> None:
        self.limit, self.network = limit, small_mixture()
        self.asked: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.asked.append(len(x))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.network(x, sigma)


def test_what_does_not_fit_is_halved_and_stays_so() -> None:
    device, advanced = Small(13), []

    def draw(piece: range) -> Tensor:
        return device(adasde.latents(piece, (6,), dtype=torch.float64), torch.tensor(1.0))

    with pytest.warns(UserWarning, match=r"no memory for 40 samples together; going on with 20\."):
        found = in_chunks(range(100, 140), 50, draw, advance=advanced.append)
    assert device.asked == [40, 20, 10, 10, 10, 10] and advanced == [10] * 4
    whole = small_mixture()(adasde.latents(range(100, 140), (6,), dtype=torch.float64), torch.tensor(1.0))
    torch.testing.assert_close(found, whole)


def test_a_device_without_memory_for_one_sample_is_an_error_with_remedies() -> None:
    device = Small(0)
    with (
        pytest.warns(UserWarning),
        pytest.raises(ParamsError, match=r"single sample.*ADASDE_DEVICE.*bfloat16"),
    ):
        in_chunks(range(4), 4, lambda piece: device(torch.zeros(len(piece), 6), torch.tensor(1.0)))
    assert device.asked == [4, 2, 1]


def learned(device: Any, group: Group | None = None, **changes: Any) -> Tensor:
    settings = DistillSettings(
        solver=MULTISTEP, learn_grid=True, gamma_max=0.0, energy_weight=1.0, feature_weight=0.0
    )
    settings = replace(settings, batch=32, trajectories=96, **changes)
    grid = adasde.schedule("time_uniform", 3)
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 64, 6, dtype=torch.float64, generator=generator) * grid[[0, -1], None, None]
    real = torch.randn(50, 6, dtype=torch.float64, generator=generator)
    batches = batches_of(states, range(64), 32, seed=0)
    *_, last = distill(device, batches, grid, settings=settings, real=real, group=group or Group())
    return last.coefficients.weights


def test_distillation_goes_on_in_pieces_that_fit() -> None:
    device = Small(10)
    with pytest.warns(UserWarning, match="no memory for 16 samples together; going on with 8"):
        found = learned(device)
    assert [count for count in device.asked if count > 10] == [32, 16]
    torch.testing.assert_close(found, learned(small_mixture(), micro_batch=8), rtol=0, atol=0)


def test_processes_that_share_a_batch_end_together() -> None:
    """One that goes on alone would leave the others waiting for what it does not send."""
    with pytest.raises(torch.OutOfMemoryError):
        learned(Small(10), Group(0, 2), micro_batch=16)
