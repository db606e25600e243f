"""The error bounds on two circles: closed forms of the noise's contraction, radial laws, measured terms."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from command import ROOT, adasde, explained
from scipy.stats import norm

from adasde.distillation.config import DistillSettings
from adasde.distillation.student import Student
from adasde.errors import ParamsError
from adasde.experiments.two_circles import BoundSettings, Settings
from adasde.experiments.two_circles.bounds import STUDENTS, FinalError, MeasuredStep, Trajectory, measured
from adasde.experiments.two_circles.bounds_stage import violations
from adasde.experiments.two_circles.bounds_tables import summaries
from adasde.experiments.two_circles.circles import Circles, ExactFlow
from adasde.experiments.two_circles.radial import (
    Averaged,
    RadialLaw,
    along_axis,
    exact_law,
    gaussian_law,
    level_edges,
)
from adasde.experiments.two_circles.steps import StudentStep
from adasde.experiments.two_circles.theorems import (
    Constants,
    gradient_bound,
    injected_scale,
    log10_discretisation_bound,
    log10_merging,
    merging,
    printed_scale,
)
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import schedule
from adasde.types import Denoiser

CIRCLES = Circles()
NETWORK = Settings(iterations=30, points=500)
TINY = BoundSettings(nfes=(3, 5), gammas=(3e-4, 0.2), bins=300, trajectories=64, batch=32, circles=NETWORK)


def gaussians(shift: float, scale: float) -> float:
    """Total variation of N(0, scale^2) and N(shift, scale^2), by quadrature."""
    x = np.linspace(-12 * scale, shift + 12 * scale, 200_001)
    return 0.5 * float(np.trapezoid(np.abs(norm.pdf(x, 0, scale) - norm.pdf(x, shift, scale)), x))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_two_points_keep_exactly_the_factor_of_the_theorem(scale: float) -> None:
    assert 1 - merging(2.0, scale) == pytest.approx(gaussians(2.0, scale), abs=1e-9)


@pytest.mark.parametrize("gamma", [0.01, 0.2, 2.0])
def test_common_noise_contracts_gaussians_by_the_closed_form(gamma: float) -> None:
    """N(0, t^2) and N(m, t^2) at distance TV = 2 Phi(m / 2t) - 1 end at that of the level (1 + gamma) t."""
    t, m = 1.5, 2.0
    before, after = 2 * norm.cdf(m / (2 * t)) - 1, 2 * norm.cdf(m / (2 * (1 + gamma) * t)) - 1
    assert gaussians(m, math.hypot(t, injected_scale(t, (1 + gamma) * t))) == pytest.approx(after, abs=1e-9)
    assert after < before


def test_the_factor_as_printed_is_below_what_two_points_keep() -> None:
    """With the variance t_hat^2 - s^2 in place of the injected, noise that is not there would contract."""
    t, s, diameter = 2.0, 0.5, 3.0
    for gamma in (0.0, 0.01, 0.2):
        scale, printed = injected_scale(t, (1 + gamma) * t), printed_scale((1 + gamma) * t, s)
        kept = 2 * norm.cdf(diameter / (2 * scale)) - 1 if scale else 1.0
        assert 1 - merging(diameter, scale) == pytest.approx(kept, abs=1e-12)
        assert 1 - merging(diameter, printed) < kept - 0.1


def test_restart_has_the_printed_factor() -> None:
    """Where noise leads from s, both are the same."""
    assert printed_scale(2.0, 0.5) == injected_scale(0.5, 2.0)


def test_the_logarithm_of_the_merging_share_survives_underflow() -> None:
    assert log10_merging(2.0, 1.0) == pytest.approx(math.log10(merging(2.0, 1.0)))
    assert merging(100.0, 0.1) == 0
    assert log10_merging(100.0, 0.1) == pytest.approx(-(500**2) / 2 / math.log(10), rel=1e-3)
    assert log10_merging(1.0, 0.0) == -math.inf


def test_without_noise_the_second_bound_is_the_first() -> None:
    known = Constants(diameter=3.0, slope=2.0, height=4.0, change=5.0, error=0.1)
    assert gradient_bound(known, 0.5) == 1.5
    h = 0.25
    assert 10 ** log10_discretisation_bound(known, h) == pytest.approx(
        math.exp(2 * h) * (h * (2 * 4 + 5) + 0.1) * h
    )


@pytest.mark.parametrize(("t", "gamma"), [(80.0, 0.2), (2.8, 3e-4), (0.65, 0.02), (0.65, 1.0), (0.002, 0.1)])
def test_noise_leads_the_data_to_the_raised_level(t: float, gamma: float) -> None:
    t_hat = (1 + gamma) * t
    edges = level_edges(CIRCLES, t_hat, 2_000)
    noisy = exact_law(CIRCLES, t, level_edges(CIRCLES, t, 2_000)).injected(injected_scale(t, t_hat), edges)
    exact = exact_law(CIRCLES, t_hat, edges)
    assert noisy.total_variation(exact) < 1e-4
    assert noisy.wasserstein(exact) < 2e-6 * max(1, t_hat)


def test_distances_of_gaussians_in_the_plane() -> None:
    """TV of N(0, I) and N(0, s^2 I): between the radii where the densities cross; W1 by the mean radii."""
    s, edges = 1.3, np.linspace(0, 12, 6_001)
    cross = math.sqrt(2 * math.log(s**2) / (1 - 1 / s**2))
    exact = math.exp(-(cross**2) / (2 * s**2)) - math.exp(-(cross**2) / 2)
    one, other = gaussian_law(1.0, edges), gaussian_law(s, edges)
    assert one.total_variation(other) == pytest.approx(exact, abs=1e-5)
    assert one.wasserstein(other) == pytest.approx((s - 1) * math.sqrt(math.pi / 2), abs=1e-5)


def test_a_map_moves_the_mass() -> None:
    edges = np.linspace(0, 10, 4_001)
    law = gaussian_law(1.0, edges)
    doubled = law.pushed(2 * edges, edges)
    assert doubled.total_variation(gaussian_law(2.0, edges)) < 5e-4  # half as many bins below it
    folded = law.pushed(np.abs(edges - 1), edges)  # two branches
    assert folded.mass.sum() == pytest.approx(1)
    inside = np.interp(2.0, edges, law.cumulative)
    assert np.interp(1.0, edges, folded.cumulative) == pytest.approx(inside, abs=1e-6)


def test_the_exact_flow_keeps_the_law_of_the_data() -> None:
    grid = schedule("polynomial", 4)
    for t, s in pairwise(grid.tolist()):
        start, end = level_edges(CIRCLES, t, 2_000), level_edges(CIRCLES, s, 2_000)
        quantiles = np.interp(start, *CIRCLES.radius_law(t))
        radii, cumulative = CIRCLES.radius_law(s)
        moved = exact_law(CIRCLES, t, start).pushed(np.interp(quantiles, cumulative, radii), end)
        assert moved.wasserstein(exact_law(CIRCLES, s, end)) < 2e-4
    assert ExactFlow(CIRCLES).evaluations == 0


def test_the_average_of_the_exact_denoiser_is_itself() -> None:
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor(0.4, dtype=torch.float64)
    torch.testing.assert_close(Averaged(CIRCLES)(x, sigma), CIRCLES(x, sigma), rtol=0, atol=1e-12)


def lopsided(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return 0.9 * x + 0.1 * x.roll(1, dims=1) + torch.tensor([0.3, -0.1], dtype=x.dtype)


def test_the_average_commutes_with_rotations() -> None:
    average, sigma = Averaged(lopsided), torch.tensor(1.0, dtype=torch.float64)
    x = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(average(x @ turn, sigma), average(x, sigma) @ turn, rtol=0, atol=1e-12)


def table(nfe: int, gamma: float) -> Coefficients:
    """A student at its start with this gamma in every noisy step."""
    steps = (nfe + 1) // 2
    student = Student(schedule("time_uniform", steps, rho=1.0), DistillSettings(solver="adasde"), afs=True)
    student.to_start()
    with torch.no_grad():
        made = student.forward()
    noise = torch.tensor([0.0, *[gamma] * (steps - 1)])
    return Coefficients(
        made.sigmas, noise, made.midpoint, made.direction_scale, made.time_scale, made.weights, afs=True
    )


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_the_laws_are_those_of_samples(gamma: float) -> None:
    """The grid against 40 000 samples of the same sampler."""
    from adasde.sampling.integrate import sample

    noisy, seeds = table(5, gamma), range(40_000)
    drawn = sample(CIRCLES, latents(seeds, (2,), dtype=torch.float64), noisy, SeededNoise(seeds))
    *_, law = Trajectory(CIRCLES, noisy, TINY).laws(noisy.gamma.tolist())
    counts, _ = np.histogram(drawn.norm(dim=1).numpy(), law.edges)
    sampled = RadialLaw(law.edges, counts / counts.sum())
    assert law.wasserstein(sampled) < 3e-3
    assert law.wasserstein(exact_law(CIRCLES, float(noisy.sigmas[-1]), law.edges)) > 1e-2


class Wrong:
    """The exact denoiser of circles that are not the data's: a known error."""

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return Circles(radii=(0.85, 0.55), noise=0.12)(x, sigma)


@pytest.mark.parametrize("network", [CIRCLES, Wrong()], ids=["exact", "wrong"])
@pytest.mark.parametrize("gamma", [0.0, 3e-4, 0.05, 0.5])
def test_the_inequalities_hold_and_noise_is_strict(network: Denoiser, gamma: float) -> None:
    noisy = table(7, 0.0)
    terms = [
        StudentStep(network, noisy, i, CIRCLES, TINY.bins).terms(law, gamma)
        for i, law in enumerate(Trajectory(network, noisy, TINY).laws(noisy.gamma.tolist()))
        if 0 < i < noisy.steps
    ]
    assert max(violations(terms).values()) <= 1e-6
    assert all((one.before - one.after > 1e-7) is (gamma > 0) for one in terms if one.before > 1e-4)


def test_the_exact_denoiser_has_no_approximation_error() -> None:
    step = StudentStep(CIRCLES, table(5, 0.0), 1, CIRCLES, TINY.bins)
    assert step.constants(step.levels[0]).error == 0
    wrong = StudentStep(Wrong(), table(5, 0.0), 1, CIRCLES, TINY.bins)
    assert wrong.constants(wrong.levels[0]).error > 0.03


def test_a_radial_field_is_read_along_the_axis() -> None:
    radii = np.array([0.5, 2.0])
    assert along_axis(lambda x: -3 * x, radii).tolist() == [-1.5, -6.0]


def test_small_run_is_the_same_again_and_keeps_the_inequalities() -> None:
    found = list(measured(TINY))
    assert found == list(measured(TINY))
    steps = [one for one in found if isinstance(one, MeasuredStep)]
    assert {(one.student, one.nfe, one.terms.step) for one in steps} == {
        (name, nfe, step) for name in STUDENTS for nfe, step in ((3, 1), (5, 1), (5, 2))
    }
    assert max(violations([one.terms for one in steps]).values()) <= 1e-6
    assert all(one.terms.gamma == 0 for one in steps if one.own and "no noise" in one.student)
    finals = [one for one in found if isinstance(one, FinalError)]
    assert {len(one.gammas) for one in finals} == {2, 3}
    assert all(one.gammas[0] == 0 and math.isfinite(one.wasserstein) for one in finals)
    last = [one for one in steps if one.own and one.terms.step == one.nfe // 2]
    own = {(one.student, one.nfe): one.wasserstein for one in finals if one.own}
    assert {(one.student, one.nfe): one.terms.total for one in last} == pytest.approx(own)


@pytest.mark.parametrize("wrong", [{"nfes": (4,)}, {"nfes": ()}, {"gammas": (-1.0,)}, {"bins": 10}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParamsError):
        BoundSettings(**wrong)  # type: ignore[arg-type]


def test_the_command_writes_json_and_page(tmp_path: Path) -> None:
    small = ["--nfe", "3", "--iterations", "20", "--trajectories", "512", "--bins", "300"]
    ended = adasde(["bounds", *small, "--out", "b", "--json"], tmp_path)
    assert ended.code == 0, ended.err
    summary = json.loads(ended.out)
    document = json.loads((tmp_path / "b" / "bounds.json").read_text())
    assert summary["violations"] == document["violations"]
    assert {one["nfe"] for one in document["steps"]} == {3}
    assert "Theorem" in (tmp_path / summary["out"]).read_text()
    assert (tmp_path / "b" / "bounds.md").read_text().count("| NFE, step, t |") == len(STUDENTS)


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    """docs/paper.md shows bounds.md, without the steps of the last student."""
    document = json.loads((ROOT / "benchmarks/results/bounds.json").read_text())
    matching, learned, _, ends = summaries(document)
    page = (ROOT / "docs/paper.md").read_text()
    assert all(table.markdown() in page for table in (matching, learned, ends))
    assert max(document["violations"].values()) <= 1e-6


def test_the_command_explains_what_it_refuses(tmp_path: Path) -> None:
    explained(adasde(["bounds", "--nfe", "4"], tmp_path), "odd", "4")
