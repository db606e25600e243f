"""The noise of a student that is trained end to end: when it is trained, and that 0 is no trap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import adasde
from adasde.distillation import DistillSettings, Student, Teacher
from adasde.distillation.config import NODE_BY_NODE, cosine
from adasde.distillation.distill import RELEASE, Progress, batches_of, distill
from adasde.distillation.student import START_GAMMA
from adasde.sampling.analytic import Gaussian
from adasde.sampling.schedules import schedule

GRID: dict[str, Any] = {"sigma_min": 0.01, "sigma_max": 20.0, "rho": 1.0}
NARROW, WIDE = 0.3, 0.6
BASE: dict[str, Any] = {"batch": 128, "trajectories": 128 * 40, "gamma_max": 1.0, "feature_weight": 0.0}


def progress(start_gamma: float | None = None, **changes: Any) -> list[Progress]:
    """Training on a network that knows narrow data, against real samples that are wider."""
    network = Gaussian(0.0, NARROW)
    latents = adasde.latents(range(512), (2,), dtype=torch.float64)
    states = Teacher(inserted=1, substeps=1).states(
        network, latents, schedule="time_uniform", steps=3, **GRID
    )
    real = WIDE * adasde.latents(range(9000, 10000), (2,), dtype=torch.float64)
    sigmas = schedule("time_uniform", 3, **GRID)
    start = None
    if start_gamma is not None:
        start = adasde.neutral(sigmas, afs=True)
        start = replace(start, gamma=torch.tensor([0.0, start_gamma, start_gamma]))
    settings = DistillSettings(**BASE | changes)
    batches = batches_of(states, range(512), settings.batch, seed=0)
    return list(distill(network, batches, sigmas, settings=settings, real=real, start=start))


def gammas(steps: list[Progress]) -> Tensor:
    return torch.stack([step.coefficients.gamma for step in steps])


def test_it_waits_until_teacher_matching_has_lost_half_of_its_weight() -> None:
    found = gammas(progress(energy_weight=1.0, paired_final=0.0))
    still = [cosine(1.0, 0.0, k / len(found)) > RELEASE for k in range(len(found))]
    first = BASE["gamma_max"] * torch.tanh(torch.tensor(START_GAMMA, dtype=torch.float64)) ** 2
    for row, waits in zip(found, still, strict=True):
        assert torch.allclose(row[1:], first) == waits
    assert 0 < sum(still) < len(still)


def test_teacher_matching_alone_trains_it_from_the_first_batch() -> None:
    found = gammas(progress())
    assert (found[-1, 1:] < found[0, 1:]).all()


@pytest.mark.parametrize("begins", [0.0, 1e-4])
def test_it_leaves_zero_where_noise_helps(begins: float) -> None:
    found = gammas(progress(begins, energy_weight=1.0, pixel_weight=0.0, lr=0.05, trajectories=128 * 80))
    assert float(found[-1].max()) > 0.002


def test_a_loop_node_by_node_keeps_its_lowest_gamma() -> None:
    student = Student(
        schedule("time_uniform", 3), DistillSettings(loop=NODE_BY_NODE, gamma_min=2e-4), afs=True
    )
    with torch.no_grad():
        student.gamma.fill_(-1e3)
        assert student().gamma.tolist() == [0.0, 2e-4, 2e-4]
        student.gamma.zero_()
        torch.testing.assert_close(student().gamma[1:], torch.full((2,), 2e-4 + 0.6 * (0.02 - 2e-4)).double())
