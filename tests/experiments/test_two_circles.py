"""The analysis on two circles: exact denoiser, exact distances, determinism, what is written."""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command import adasde, explained, tree

from adasde.errors import ParamsError
from adasde.experiments.two_circles import QUICK, Settings, analyse
from adasde.experiments.two_circles.circles import Circles, ExactFlow
from adasde.experiments.two_circles.distances import assignment_distance, estimate, line_distance
from adasde.experiments.two_circles.experiment import HeunSampler, measure, seeds_of
from adasde.sampling.analytic import Mixture
from adasde.sampling.integrate import solve
from adasde.sampling.schedules import schedule

TINY = Settings(
    steps=(2, 4), gammas=(0.05,), points=50, samples=60, groups=3, block=15, iterations=3, batch=8
)


def cloud(count: int, seed: int = 0) -> torch.Tensor:
    return Circles().sample(count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("centres", [256, 1024])
@pytest.mark.parametrize("sigma", [0.002, 0.1, 0.5, 3.0, 80.0])
def test_the_exact_denoiser_is_that_of_a_fine_mixture(centres: int, sigma: float) -> None:
    circles = Circles()
    angle = torch.arange(centres, dtype=torch.float64) * 2 * math.pi / centres
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    means = torch.cat([radius * ring for radius in circles.radii])
    mixture = Mixture(means, torch.full((2 * centres,), 0.5 / centres, dtype=torch.float64), circles.noise)
    level = torch.tensor(sigma, dtype=torch.float64)
    x = torch.cat([(1 + sigma) * cloud(40), torch.zeros(1, 2, dtype=torch.float64)])
    torch.testing.assert_close(circles(x, level), mixture(x, level), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 1.0])
def test_the_denoiser_gives_the_score_of_the_density(sigma: float) -> None:
    circles, x, h = Circles(), cloud(20), 1e-5
    score = (circles(x, torch.tensor(sigma)) - x) / sigma**2  # Tweedie
    for axis, shift in enumerate(h * torch.eye(2, dtype=torch.float64)):
        slope = (circles.log_density(x + shift, sigma) - circles.log_density(x - shift, sigma)) / (2 * h)
        torch.testing.assert_close(score[:, axis], slope, rtol=1e-5, atol=1e-5)


def test_the_data_lie_on_both_circles() -> None:
    points = cloud(20_000)
    radius = points.norm(dim=1)
    # E r^2 = R^2 + 2 noise^2
    assert float(radius[::2].square().mean()) == pytest.approx(0.66, abs=0.005)
    assert float(radius[1::2].square().mean()) == pytest.approx(0.38, abs=0.005)


def test_the_distance_of_a_shifted_cloud_is_the_shift() -> None:
    points = cloud(60).numpy()
    shuffled = np.random.default_rng(0).permutation(points)
    assert assignment_distance(points, shuffled + np.array([0.3, -0.4])) == pytest.approx(0.5)
    assert assignment_distance(points, shuffled) == 0


def test_on_a_line_the_assignment_sorts() -> None:
    a, b = cloud(50).numpy().reshape(2, 50)
    assert assignment_distance(a[:, None], b[:, None]) == pytest.approx(line_distance(a, b))


def test_interval_of_known_numbers() -> None:
    found = estimate([1.0, 2.0, 3.0])  # sd 1; t(0.975, 2) = 4.302653
    assert (found.mean, found.low, found.high) == pytest.approx(
        (2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5)
    )


def test_without_noise_the_sampler_is_heun_and_points_depend_on_their_seed_alone() -> None:
    sampler, circles = HeunSampler(range(5, 12)), Circles()
    quiet, noisy = sampler(circles, 4, 0.0), sampler(circles, 4, 0.1)
    np.testing.assert_array_equal(quiet, solve(circles, sampler.latents, schedule("polynomial", 4), "heun"))
    assert np.abs(noisy - quiet).min() > 0
    np.testing.assert_allclose(HeunSampler(range(8, 10))(circles, 4, 0.1), noisy[3:5])


def test_the_exact_flow_is_the_limit_of_many_steps_and_has_the_law_of_the_data() -> None:
    sampler, circles = HeunSampler(range(3_000)), Circles()
    exact = sampler(circles, 3, 0.0, ExactFlow(circles))
    far, near = (np.abs(sampler(circles, steps, 0.0) - exact).max() for steps in (40, 160))
    assert near < far / 10  # order 2
    assert near < 1e-3
    data = cloud(3_000).norm(dim=1).numpy()
    for steps, gamma in ((3, 0.0), (6, 0.3)):
        radius = np.linalg.norm(sampler(circles, steps, gamma, ExactFlow(circles)), axis=1)
        assert line_distance(radius, data) < 0.006


def test_no_two_clouds_of_any_experiment_share_a_seed() -> None:
    ranges = [r for seed in range(3) for r in seeds_of(replace(TINY, seed=seed))]
    assert len(set().union(*ranges)) == sum(map(len, ranges))


def test_errors_obey_the_triangle_inequality_and_threads_are_put_back() -> None:
    threads = torch.get_num_threads()
    found = measure(TINY)
    assert torch.get_num_threads() == threads
    total, gradient, rest = (found.errors["plane", k] for k in ("total", "gradient", "discretisation"))
    assert total.shape == (2, 2, 3)
    assert (total <= gradient + rest + 1e-12).all()
    assert found.shown == 4
    other = measure(replace(TINY, seed=1))
    assert all((values != found.errors[key]).all() for key, values in other.errors.items())


def test_everything_is_written_and_the_same_every_time(tmp_path: Path) -> None:
    summary = analyse(TINY, out=tmp_path / "one")
    analyse(TINY, out=tmp_path / "two")
    files = tree(tmp_path / "one")
    assert files == tree(tmp_path / "two")
    assert sorted(files) == [
        "analysis.json", "discretisation.png", "gradient.png", "index.html", "samples.png", "total.png",
    ]  # fmt: skip
    document = json.loads(files["analysis.json"])
    assert len(document["errors"]) == 2 * 3 * 2 * 2
    assert document["settings"]["gammas"] == [0, 0.05]
    for verdict in document["verdicts"]:
        assert verdict["statement"] in html.unescape(files["index.html"].decode())
    assert [v["verdict"] for v in summary["verdicts"]] == [v["summary"] for v in document["verdicts"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gammas": (0.0, -0.1)}, "not negative"),
        ({"gammas": (math.nan,)}, "finite"),
        ({"gammas": (0.0,)}, "above 0"),
        ({"steps": (0, 5)}, "at least 1"),
        ({"steps": ()}, "at least 1"),
        ({"samples": 20}, "confidence band"),
        ({"groups": 1}, "confidence band"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_settings_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        replace(QUICK, **changes)


def test_settings_put_themselves_in_order() -> None:
    settings = replace(QUICK, steps=(9, 3, 9), gammas=(0.2, 0.1))
    assert (settings.steps, settings.gammas) == ((3, 9), (0, 0.1, 0.2))


def test_the_command_tells_the_verdicts(tmp_path: Path) -> None:
    small = ["--steps", "2,4", "--gamma", "0.05", "--samples", "64", "--block", "8", "--iterations", "3"]
    told = adasde(["analyse", "--quick", *small, "--out", "a", "--json"], tmp_path)
    assert told.code == 0, told.err
    summary = json.loads(told.out.splitlines()[-1])
    assert (tmp_path / summary["out"]).is_file()
    settings = json.loads((tmp_path / summary["results"]).read_text())["settings"]
    assert (settings["steps"], settings["gammas"], settings["samples"]) == ([2, 4], [0, 0.05], 64)


def test_the_command_refuses_what_it_cannot_run(tmp_path: Path) -> None:
    explained(adasde(["analyse", "--gamma", "-0.1"], tmp_path), "gamma", "not negative")
    explained(adasde(["analyse", "--steps", "0"], tmp_path), "steps", "at least 1")
    for wrong in (["--gamma", "much"], ["--steps", "2.5"], ["--solver", "heun"]):
        assert adasde(["analyse", *wrong], tmp_path).code == 2
    (tmp_path / "file").touch()
    explained(adasde(["analyse", "--quick", "--out", "file"], tmp_path), "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
