"""Does the learned noise pay? Distance to exact samples of students with and without it, all else equal.

    python benchmarks/noise.py                         # 3 and 5 evaluations, 5 training seeds: 20 minutes
    python benchmarks/noise.py --cases adasde:7 --seeds 20 --target mixture:0.1

A case is a form of the student and a budget. The denoiser is the bench's mixture of Gaussians with a known
score error. For every training seed two students are distilled from the same latents, batches and exact
samples; only ``gamma_max`` differs (0, or ``--gamma-max``). Both minimise the energy distance to the exact
samples alone. They are judged by the sliced Wasserstein distance, its mean over ranges of 20 000 seeds that
no training saw: with 3 000 it is the sampling error of the range that decides who wins. Beside them: the
classical solver of ``CLASSICAL`` on the schedules ``GRIDS``, with AFS, that is best on other seeds
(``CHOICE``), where the settings below were chosen too. Results: benchmarks/results/noise.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from tqdm import tqdm

import adasde
from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import batches_of, distill
from adasde.experiments.bench.samplers import Classical, parse_schedule
from adasde.experiments.bench.targets import MixtureTarget, target
from adasde.sampling.coefficients import MULTISTEP, OWN, Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.types import Denoiser

HERE = Path(__file__).parent
RANGE, CHOICE, REPORT = 20_000, 900_000_000, 20_000_000
"""Seeds judged together; where those begin that choose, and those that are reported."""

CHOOSING = 3000
"""Seeds that choose among classical solvers."""

POOL, REAL = 4000, 4096
"""Trajectories and exact samples of a training seed."""

REAL_SEED = 10_000
"""Of the exact samples of training seed 0; the judge's are others."""

CLASSICAL = ("ipndm", "unipc", "dpmpp-3m", "sa", "dpmpp-sde", "dpmpp-2m", "deis", "heun")
GRIDS = ("logsnr", "polynomial:7", "time_uniform")
CASES = (f"{MULTISTEP}:3", f"{OWN}:5")
SETTINGS = DistillSettings(
    learn_grid=True,
    gamma_max=0.0,
    pixel_weight=0.0,
    feature_weight=0.0,
    energy_weight=1.0,
    batch=512,
    trajectories=400 * 512,
)
Draw = Callable[[Denoiser, torch.Tensor, range], torch.Tensor]
"""(denoiser, latent, seeds) -> final states."""


def student(goal: MixtureTarget, case: str, seed: int, gamma_max: float) -> Coefficients:
    """The table distilled with ``seed``; noise up to ``gamma_max``.

    The multistep form without AFS, so that noise is allowed from the second step on, not the third; AdaSDE's
    own with it where the budget is odd.
    """
    form, nfe = case.split(":")
    settings = replace(SETTINGS, solver=form, gamma_max=gamma_max)
    afs = form == OWN and int(nfe) % 2 == 1
    steps = adasde.steps_for_nfe(form, int(nfe), afs=afs)
    ends = {"sigma_min": goal.sigma_min, "sigma_max": goal.sigma_max}
    sigmas = parse_schedule("logsnr").sigmas(steps, **ends)
    assert sigmas is not None
    seeds = range(seed << 32, (seed << 32) + POOL)
    start = latents(seeds, goal.shape, dtype=goal.dtype) * sigmas[0]
    # Without weight on paired errors the ends of the teacher's trajectories are not looked at.
    states = torch.stack([start, torch.zeros_like(start)])
    batches = batches_of(states, seeds, settings.batch, seed=seed)
    real = goal.exact.sample(REAL, seed=REAL_SEED + seed)
    *_, last = distill(goal.denoise, batches, sigmas, settings=settings, afs=afs, real=real)
    return last.coefficients


def distance(goal: MixtureTarget, draw: Draw, first: int, count: int, size: int = RANGE) -> float:
    """Mean sliced Wasserstein distance of ``draw`` over ``count`` ranges of ``size`` seeds."""
    values = []
    for start in range(first, first + count * size, size):
        seeds = range(start, start + size)
        states = draw(goal.denoise, latents(seeds, goal.shape, dtype=goal.dtype), seeds)
        values.append(goal.evaluate(states)["sliced_wasserstein"])
    return statistics.mean(values)


def of_student(goal: MixtureTarget, table: Coefficients, count: int) -> float:
    """The distance of a student on the reported seeds."""

    def draw(denoise: Denoiser, latent: torch.Tensor, seeds: range) -> torch.Tensor:
        return adasde.sample(denoise, latent, table, SeededNoise(seeds))

    return distance(goal, draw, REPORT, count)


def best_classical(goal: MixtureTarget, nfe: int, count: int) -> dict[str, Any]:
    """The classical solver and schedule that is best on ``CHOICE``, as it is on the reported seeds."""
    ends = {"sigma_min": goal.sigma_min, "sigma_max": goal.sigma_max}
    ways: dict[str, tuple[float, Draw]] = {}
    for entry in map(Classical, CLASSICAL):
        steps = entry.steps(nfe, afs=True)
        for grid in GRIDS if steps else ():
            draw = classical(entry, parse_schedule(grid).sigmas(steps or 0, **ends))
            ways[f"{entry.label}, {grid}"] = distance(goal, draw, CHOICE, 1, CHOOSING), draw
    label = min(ways, key=lambda way: ways[way][0])
    return {"solver": label, "distance": round(distance(goal, ways[label][1], REPORT, count), 4)}


def classical(entry: Classical, sigmas: torch.Tensor | None) -> Draw:
    """``draw`` of a classical solver with AFS."""
    assert sigmas is not None

    def draw(denoise: Denoiser, latent: torch.Tensor, seeds: range) -> torch.Tensor:
        noise = SeededNoise(seeds)
        return adasde.solve(denoise, latent, sigmas, entry.solver, True, noise, **entry.options)

    return draw


def compared(without: list[float], noisy: list[float]) -> dict[str, Any]:
    """Ratio of the pairs with its 95 % interval (Student's t of the logarithms), p value, and signs."""
    logs = [math.log(b / a) for a, b in zip(without, noisy, strict=True)]
    test = stats.ttest_1samp(logs, 0.0)
    ends = test.confidence_interval(0.95)
    return {
        "ratio": round(math.exp(statistics.mean(logs)), 3),
        "95 %": [round(math.exp(end), 3) for end in ends],
        "t": round(float(test.statistic), 2),
        "p": round(float(test.pvalue), 5),
        "noise is better": f"{sum(log < 0 for log in logs)} of {len(logs)}",
    }


def row(goal: MixtureTarget, case: str, options: argparse.Namespace) -> dict[str, Any]:
    """The pairs of one case."""
    found: dict[str, list[float]] = {"without": [], "with": []}
    gammas = []
    for seed in tqdm(range(options.first, options.first + options.seeds), case, disable=None):
        for arm, gamma_max in (("without", 0.0), ("with", options.gamma_max)):
            table = student(goal, case, seed, gamma_max)
            found[arm].append(round(of_student(goal, table, options.ranges), 4))
        tqdm.write(f"{case}, seed {seed}: " + ", ".join(f"{arm} {found[arm][-1]}" for arm in found))
        gammas.append([round(gamma, 3) for gamma in table.gamma.tolist()])
    return {
        **found,
        **compared(found["without"], found["with"]),
        "gamma": gammas,
        "best classical": best_classical(goal, int(case.split(":")[1]), options.ranges),
    }


def floor(goal: MixtureTarget, count: int) -> float:
    """What as many exact samples have: no sampler gets below on average."""
    clouds = (goal.exact.sample(RANGE, seed=seed) for seed in range(CHOICE, CHOICE + count))
    return statistics.mean(goal.evaluate(cloud)["sliced_wasserstein"] for cloud in clouds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="mixture:0.3")
    parser.add_argument("--cases", nargs="+", default=CASES, help="form:evaluations")
    parser.add_argument("--gamma-max", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=5, help="training seeds")
    parser.add_argument("--first", type=int, default=20, help="the first of them (0 to 2 chose the settings)")
    parser.add_argument("--ranges", type=int, default=3, help="of 20 000 seeds, judged")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "noise.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    goal = target(options.target)
    if not isinstance(goal, MixtureTarget):
        parser.error(f"--target {options.target}: only mixtures have exact samples; say mixture:LEVEL.")
    head = {key: getattr(options, key) for key in ("target", "gamma_max", "ranges", "first")}
    found: dict[str, Any] = head | {"floor": round(floor(goal, options.ranges), 4), "cases": {}}
    for case in options.cases:
        found["cases"][case] = row(goal, case, options)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
