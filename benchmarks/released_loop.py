"""The released training loop, written plainly for comparison: what it learns, and how long it takes.

    python benchmarks/released_loop.py                     # digits, 3/5/7/9: time to the same held-out loss
    python benchmarks/released_loop.py --nfe 5 --repeat 1

As the authors train (facts of their repository, not its code): random raw parameters, the teacher walks anew
for every batch, one Adam step a node from a detached state, squared error at inner nodes, at the last node
alpha times that of the features of the clipped image, the extractor loaded again each time, gradients that
are not finite set to 0. Ours is ``distillation.distill`` with the recipe of params.yaml. Both are judged by
squared feature error and the squared error at the end of held-out trajectories, weighted as ours; the time of
ours ends where it is below the final loss of theirs, and has the teacher's trajectories and features in it.
Results: benchmarks/results/released_loop.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import adasde
from adasde.config.params import load_params
from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import batches_of, distill
from adasde.distillation.losses import Batch, Losses
from adasde.evaluation.features import load_features
from adasde.experiments.bench.targets import ModelTarget
from adasde.sampling.solvers import AdaSDE, Interval
from adasde.sampling.wrappers import AnalyticFirstStep, Edge
from adasde.utils.batching import in_chunks

HERE = Path(__file__).parent
HELD_OUT = range(500_000_000, 500_001_000)
FLOOR = 1e-4
"""Lowest gamma of the release where there is noise."""


@dataclass(frozen=True)
class Recipe:
    """The published numbers of one budget on CIFAR-10."""

    inserted: int
    gamma_max: float
    alpha: float
    scale_dir: float
    lr: float
    batch: int
    scale_time: float = 0.2
    trajectories: int = 10_000


PUBLISHED = {
    3: Recipe(3, 0.02, 20, 0.05, 0.2, 32),
    5: Recipe(3, 0.01, 50, 0.05, 0.2, 64),
    7: Recipe(3, 0.01, 20, 0.1, 0.1, 32),
    9: Recipe(2, 0.01, 20, 0.1, 0.1, 32),
}


class Raw(nn.Module):
    """Raw parameters of the release, drawn from N(0, 1), and the table that they stand for."""

    def __init__(self, sigmas: Tensor, recipe: Recipe) -> None:
        super().__init__()
        self.sigmas, self.recipe = sigmas, recipe
        names = ("midpoint", "direction", "time", "gamma")
        self.raw = nn.ParameterDict({name: nn.Parameter(torch.randn(len(sigmas) - 1)) for name in names})

    def forward(self) -> adasde.Coefficients:
        raw, recipe = {name: value.double() for name, value in self.raw.items()}, self.recipe
        share = torch.sigmoid((raw["gamma"] + 2 * math.log(1.5)) / 2)
        gamma = FLOOR + (recipe.gamma_max - FLOOR) * share
        ones = torch.ones(len(gamma), 1)
        return adasde.Coefficients(
            self.sigmas,
            torch.cat([torch.zeros(1), gamma[1:]]),
            torch.sigmoid(raw["midpoint"])[:, None],
            1 + recipe.scale_dir * torch.tanh(raw["direction"] / 2)[:, None],
            1 + recipe.scale_time * torch.tanh(raw["time"] / 2)[:, None],
            ones,
            afs=True,
        )


def released(goal: ModelTarget, nfe: int, *, seed: int = 0) -> Iterator[adasde.Coefficients]:
    """The table after every batch of the released loop."""
    recipe, steps = PUBLISHED[nfe], adasde.steps_for_nfe("adasde", nfe, afs=True)
    grid: dict[str, Any] = {"sigma_min": goal.sigma_min, "sigma_max": goal.sigma_max, "rho": 1.0}
    sigmas = adasde.schedule("time_uniform", steps, **grid)
    teacher = adasde.Teacher(inserted=recipe.inserted, substeps=2)
    torch.manual_seed(seed)
    module = Raw(sigmas, recipe)
    optimiser = torch.optim.Adam(module.parameters(), lr=recipe.lr)
    total = recipe.trajectories // recipe.batch
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total, eta_min=0.01)
    for k in range(total):
        seeds = range((seed << 32) + k * recipe.batch, (seed << 32) + (k + 1) * recipe.batch)
        denoise = goal.bind(seeds)
        latents = adasde.latents(seeds, goal.shape)
        targets = teacher.states(denoise, latents, schedule="time_uniform", steps=steps, **grid)
        x = targets[0]
        for i in range(steps):
            network = AnalyticFirstStep(Edge(denoise)) if i == 0 else Edge(denoise)
            interval = Interval(i, sigmas[i], sigmas[i + 1], steps - 1 - i, torch.randn_like)
            x, _ = AdaSDE(module()).step(network, x.detach(), interval, ())
            loss = (x - targets[i + 1]).square().mean()
            if i == steps - 1:
                features, images = load_features(goal.name), (x.clamp(-1, 1), targets[-1].clamp(-1, 1))
                seen, wanted = (features(image) for image in images)
                loss = recipe.alpha * (seen - wanted).square().mean()
            optimiser.zero_grad()
            loss.backward()
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
            optimiser.step()
        rate.step()
        with torch.no_grad():
            yield module()


def ours(goal: ModelTarget, nfe: int, settings: DistillSettings) -> Iterator[adasde.Coefficients]:
    """The table after every iteration of our recipe, trajectories and features included."""
    budget = load_params("params.yaml").at(nfe)
    grid, taught, steps = budget.params.schedule, budget.params.teacher, budget.steps
    ends: dict[str, Any] = {"sigma_min": goal.sigma_min, "sigma_max": goal.sigma_max, "rho": grid.rho}
    teacher = adasde.Teacher(taught.solver, taught.inserted, taught.substeps)
    seeds = range(taught.trajectories)

    def states(piece: range) -> Tensor:
        start = adasde.latents(piece, goal.shape)
        inner = not settings.learn_grid
        return teacher.states(goal.bind(piece), start, schedule=grid.name, steps=steps, inner=inner, **ends)

    walked = in_chunks(seeds, taught.batch, states, dim=1)
    batches = batches_of(walked, seeds, settings.batch, seed=0, features=goal.features)
    sigmas = adasde.schedule(grid.name, steps, **ends)
    known: dict[str, Any] = {"features": goal.features, "real": goal.reference, "bind": goal.bind}
    for progress in distill(goal.bind(seeds[:1]), batches, sigmas, settings=settings, **known):
        yield progress.coefficients


class HeldOut:
    """The loss of a table on trajectories that neither training saw."""

    def __init__(self, goal: ModelTarget) -> None:
        self.goal = goal
        grid = adasde.schedule("polynomial", 60, sigma_min=goal.sigma_min, sigma_max=goal.sigma_max)
        start = adasde.latents(HELD_OUT, goal.shape)
        end = adasde.solve(goal.bind(HELD_OUT), start, grid, "heun")
        self.batch = Batch(HELD_OUT, torch.stack([start * grid[0], end]))
        self.losses = Losses(DistillSettings(energy_weight=0.0), goal.features)

    @torch.no_grad()
    def __call__(self, table: adasde.Coefficients) -> float:
        errors = self.losses(self.goal.bind(HELD_OUT), self.batch, table)
        return float(self.losses.total(errors, table.sigmas))


def until(
    tables: Iterator[adasde.Coefficients], held_out: HeldOut, *, below: float = -1.0, every: int = 10
) -> tuple[float, float]:
    """Seconds of training until the held-out loss is ``below`` (or to the end), and the loss there."""
    seconds, loss = 0.0, math.inf
    started = time.perf_counter()
    for k, table in enumerate(tables, 1):
        seconds += time.perf_counter() - started
        if below > 0 and k % every == 0:
            loss = held_out(table)
            if loss <= below:
                return seconds, loss
        last, started = table, time.perf_counter()
    return seconds, held_out(last)


def compared(goal: ModelTarget, nfe: int, settings: DistillSettings, repeat: int) -> dict[str, Any]:
    held_out, runs = HeldOut(goal), []
    for seed in range(repeat):
        theirs, wanted = until(released(goal, nfe, seed=seed), held_out)
        mine, reached = until(ours(goal, nfe, settings), held_out, below=wanted)
        _, final = until(ours(goal, nfe, settings), held_out) if seed == 0 else (0.0, None)
        runs.append({"released": theirs, "loss": wanted, "ours": mine, "reached": reached, "final": final})
    return {"ratio": max(run["ours"] / run["released"] for run in runs), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--nfe", type=lambda text: [int(word) for word in text.split(",")], default=[3, 5, 7, 9]
    )
    parser.add_argument("--repeat", type=int, default=1, help="random starts of the released loop")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "released_loop.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    goal = ModelTarget("digits")
    found = {}
    for nfe in options.nfe:
        settings = load_params("params.yaml").at(nfe).settings
        found[str(nfe)] = compared(goal, nfe, settings, options.repeat)
        print(nfe, json.dumps(found[str(nfe)]), flush=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
