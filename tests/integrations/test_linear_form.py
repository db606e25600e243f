"""The linear form gives what the sampler gives, one evaluation after the other, for every kind of file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from closed_form import small_mixture
from tables import FORMS, random_table

import adasde
from adasde.errors import SolverError
from adasde.integrations.linear_form import Combination, LinearSampler, linear_form
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import SeededNoise


def walked(table: Coefficients, latents: torch.Tensor, noise: SeededNoise) -> tuple[torch.Tensor, int]:
    """The image, and the most tensors remembered between two evaluations."""
    linear = linear_form(table)
    progress, state, kept = LinearSampler(linear), linear.start * latents, 0
    for sigma in linear.sigmas:
        output = small_mixture()(state, torch.tensor(sigma, dtype=state.dtype))
        before = state
        state = progress.advance(state, output, lambda step: noise(step, before))  # noqa: B023
        kept = max(kept, len(progress._kept))
    return state, kept


@pytest.mark.parametrize("afs", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_walking_evaluation_by_evaluation_is_the_sampler(
    form: str, afs: bool, dtype: torch.dtype, tolerance: float
) -> None:
    table, noise = random_table(form, steps=5, afs=afs), SeededNoise(range(4))
    latents = adasde.latents(range(4), (6,), dtype=dtype)
    expected = adasde.sample(small_mixture(), latents, table, noise)
    ours, _ = walked(table, latents, noise)
    assert len(linear_form(table).sigmas) == table.nfe
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def test_several_points_are_walked_too() -> None:
    table, noise = random_table(points=3), SeededNoise(range(4))
    latents = adasde.latents(range(4), (6,), dtype=torch.float64)
    ours, _ = walked(table, latents, noise)
    torch.testing.assert_close(ours, adasde.sample(small_mixture(), latents, table, noise))


def test_heun_by_hand() -> None:
    ones = torch.ones(1, 2)
    none = torch.zeros(1, 0)
    table = Coefficients([2.0, 1.0], [0.0], none, ones, ones, none, False, solver="heun")
    linear = linear_form(table)
    assert (linear.start, linear.sigmas) == (2.0, (2.0, 1.0))
    # x1 = x/2 + D0/2; then x + (1 - 2)/2 * ((x - D0)/2 + x1 - D1)
    assert linear.rows == (Combination({0: 0.5}, {0: 0.5}, {}), Combination({0: 0.5}, {1: 0.5}, {}))


def test_no_more_is_remembered_than_a_later_row_reads() -> None:
    latents, noise = adasde.latents(range(2), (6,), dtype=torch.float64), SeededNoise(range(2))
    most = {form: walked(random_table(form, steps=6), latents, noise)[1] for form in FORMS}
    assert most["adasde"] == most["heun"] == 2  # the start of the step and its first clean estimate
    assert most["euler"] == 0
    assert most["dpmpp-2m"] <= 1 + 1  # an earlier estimate; new noise does not move it


def test_a_state_changed_between_steps_is_taken_up() -> None:
    """As programs do that blend known pixels into every state."""
    table = random_table(gamma=0.0, afs=False)
    latents = adasde.latents(range(2), (6,), dtype=torch.float64)
    linear = linear_form(table)
    progress, state = LinearSampler(linear), linear.start * latents
    for index, sigma in enumerate(linear.sigmas):
        if index == 2:
            state = state + 1
            tail = replace(
                table,
                sigmas=table.sigmas[1:],
                **{
                    name: getattr(table, name)[1:]
                    for name in ("gamma", "midpoint", "direction_scale", "time_scale", "weights")
                },
            )
            expected = adasde.sample(small_mixture(), state / table.sigmas[1], tail)
        state = progress.advance(
            state, small_mixture()(state, torch.tensor(sigma, dtype=state.dtype)), lambda _: latents
        )
    torch.testing.assert_close(state, expected)


def test_noise_before_the_first_evaluation_is_refused() -> None:
    table = random_table("euler")
    noisy = replace(table, gamma=torch.tensor([0.0, 0.1, 0.1]))
    with pytest.raises(SolverError, match=r"before the first network evaluation .*distil without AFS"):
        linear_form(noisy)


def test_a_walk_may_begin_where_nothing_from_before_is_read() -> None:
    table = random_table(afs=False, gamma=0.1)
    levels = (table.sigmas[:-1] * (1 + table.gamma)).tolist()
    assert linear_form(table).entries == {0: levels[0], 2: levels[1], 4: levels[2]}
    assert linear_form(random_table(afs=True, gamma=0.0)).entries.keys() == {1, 3}  # the first is a midpoint
    assert linear_form(random_table("ipndm", afs=False)).entries.keys() == {0}
