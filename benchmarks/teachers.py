"""Which teacher? How far the ends of its trajectories are from the exact ones, and for how many evaluations.

    python benchmarks/teachers.py
    python benchmarks/teachers.py --nfe 3 --model glyphs

Exact: 200 steps of Heun. On the grids of params.yaml, for every budget; mean squared error of the states and
of their features, on trajectories of seeds that nothing else uses. Results: benchmarks/results/teachers.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import adasde
from adasde.config.params import load_params
from adasde.experiments.bench.targets import ModelTarget
from adasde.sampling.wrappers import Counting

HERE = Path(__file__).parent
FIRST = 700_000_000
CANDIDATES = [
    ("dpm2", 3, 2),
    ("dpm2", 1, 2),
    ("dpm2", 3, 1),
    ("heun", 3, 1),
    ("dpmpp-3m", 3, 2),
    ("dpmpp-3m", 3, 1),
    ("ipndm", 3, 2),
    ("ipndm", 3, 1),
    ("ipndm", 1, 1),
]


def measured(goal: ModelTarget, nfe: int, exact: Tensor, seeds: range) -> list[dict[str, Any]]:
    """A row a candidate."""
    budget = load_params(HERE.parent / "params.yaml").at(nfe, "multistep")
    grid = budget.params.schedule
    ends = {"sigma_min": goal.sigma_min, "sigma_max": goal.sigma_max, "rho": grid.rho}
    features = goal.features or (lambda states: states.flatten(1))
    rows = []
    for solver, inserted, substeps in CANDIDATES:
        counting = Counting(goal.bind(seeds))
        walk = adasde.Teacher(solver, inserted, substeps).states
        states = walk(
            counting,
            adasde.latents(seeds, goal.shape),
            schedule=grid.name,
            steps=budget.steps,
            **ends,
        )
        rows.append(
            {
                "teacher": f"{solver}, inserted {inserted}, substeps {substeps}",
                "evaluations": counting.nfe,
                "states": float((states[-1] - exact).square().mean()),
                "features": float((features(states[-1]) - features(exact)).square().mean()),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="digits")
    parser.add_argument(
        "--nfe", type=lambda text: [int(word) for word in text.split(",")], default=[3, 5, 7, 9]
    )
    parser.add_argument("--trajectories", type=int, default=500)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "teachers.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    goal, seeds = ModelTarget(options.model), range(FIRST, FIRST + options.trajectories)
    grid = adasde.schedule("polynomial", 200, sigma_min=goal.sigma_min, sigma_max=goal.sigma_max)
    exact = adasde.solve(goal.bind(seeds), adasde.latents(seeds, goal.shape), grid, "heun")
    found = {str(nfe): measured(goal, nfe, exact, seeds) for nfe in options.nfe}
    for nfe, rows in found.items():
        for row in rows:
            errors = f"states {row['states']:.1e}, features {row['features']:.1e}"
            print(f"{nfe} {row['teacher']:36s} {row['evaluations']:4d} evaluations, {errors}")
    options.out.write_text(json.dumps({options.model: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
