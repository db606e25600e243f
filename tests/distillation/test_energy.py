"""The energy distance, and what distillation makes of it."""

from __future__ import annotations

import pytest
import torch
from closed_form import small_mixture

import adasde
from adasde.distillation.distill import DistillSettings
from adasde.distillation.energy import LIMIT, EnergyReference, energy_distance
from adasde.distillation.losses import Losses
from adasde.errors import ParamsError
from adasde.experiments.bench.targets import MixtureTarget
from adasde.sampling.analytic import Gaussian
from adasde.sampling.coefficients import MULTISTEP


def normal(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_it_is_that_of_two_normal_distributions(shift: float) -> None:
    """One dimension: E|x - y| of N(0, 1) and N(m, 1) is that of a folded normal of variance 2."""
    measured = float(energy_distance(normal(4000, 1) + shift, EnergyReference.of(normal(4000, 2))))
    m = torch.tensor(shift, dtype=torch.float64)
    folded = 2 / torch.pi**0.5 * torch.exp(-(m**2) / 4) + m * torch.erf(m / 2)
    assert measured == pytest.approx(float(2 * folded) - 4 / torch.pi**0.5, rel=0.02, abs=0.02)


def test_its_gradient_points_to_the_distribution() -> None:
    shift = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    energy_distance(normal(200, 1) + shift, EnergyReference.of(normal(500, 2))).backward()
    assert shift.grad is not None and float(shift.grad) > 0.5


def test_many_real_samples_are_thinned_the_same_way() -> None:
    rows = normal(LIMIT + 10, 3)
    one, other = EnergyReference.of(rows), EnergyReference.of(rows)
    assert len(one.features) == LIMIT and torch.equal(one.features, other.features)


@pytest.mark.parametrize("real", [None, torch.zeros(1, 6)])
def test_it_needs_real_samples(real: torch.Tensor | None) -> None:
    with pytest.raises(ParamsError, match="energy_weight = 1 compares with real samples, and there are none"):
        Losses(DistillSettings(energy_weight=1.0), real=real)


@pytest.mark.parametrize(("paired_final", "ends_at"), [(1.0, 0.7), (0.0, 0.5)])
def test_teacher_matching_holds_a_student_at_its_teacher_until_its_weight_is_gone(
    paired_final: float, ends_at: float
) -> None:
    """The network believes in a deviation of 0.7, which the teacher follows; that of real samples is 0.5."""
    real = 0.5 * torch.randn(2000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    recipe = {"solver": MULTISTEP, "learn_grid": True, "gamma_max": 0.0, "trajectories": 25_600}
    weights = {"pixel_weight": 10.0, "energy_weight": 1.0, "paired_final": paired_final}
    network = Gaussian(mean=0.0, std=0.7)
    table = adasde.distill_coefficients(
        network, (2,), 3, real=real, pool=512, dtype=torch.float64, **recipe, **weights
    )
    start = adasde.latents(range(10**6, 10**6 + 2000), (2,), dtype=torch.float64)
    assert float(adasde.sample(network, start, table).std()) == pytest.approx(ends_at, abs=0.05)


def test_teacher_matching_does_not_end_without_an_energy_distance() -> None:
    with pytest.raises(ParamsError, match=r"paired_final = 0 .* no weight: set energy_weight above 0, or"):
        DistillSettings(paired_final=0.0)


def test_without_an_extractor_the_states_are_compared() -> None:
    settings = {"trajectories": 640, "batch": 32, "pool": 128, "energy_weight": 1.0}
    table = adasde.distill_coefficients(small_mixture(), (6,), 5, dtype=torch.float64, **settings)
    assert table.nfe == 5


def test_it_does_not_punish_noise() -> None:
    """Teacher matching drives gamma to zero, even if the network is wrong; the energy distance keeps it."""
    goal = MixtureTarget(0.1)
    recipe = {
        "solver": MULTISTEP,
        "learn_grid": True,
        "feature_weight": 0.0,
        "trajectories": 38_400,
        "lr": 0.1,
    }
    quick = {"pool": 512, "dtype": torch.float64, "rho": 1.5, "gamma_max": 1.0, **recipe}
    real = goal.exact.sample(2000, seed=5)

    def largest(**changes) -> float:
        table = adasde.distill_coefficients(goal.denoise, goal.shape, 3, real=real, **quick, **changes)
        return float(table.gamma.max())

    assert largest(pixel_weight=1.0) < 0.02 < 0.05 < largest(pixel_weight=0.0, energy_weight=1.0)
