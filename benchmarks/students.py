"""What each training recipe reaches: FID of students of several recipes, budgets and training seeds.

    python benchmarks/students.py                                    # digits: paper, single-step, multistep
    python benchmarks/students.py --model glyphs --nfe 3,5 --seeds 1
    python benchmarks/students.py --recipes paper --set gamma_max=0  # other settings, under their own name

Every student learns from trajectories of its own seeds. FID is that of 3 × 3 000 test images and, to choose
by, of as many validation images. Results that exist are kept: benchmarks/results/students-MODEL.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

import adasde
from adasde.distillation.recipes import RECIPES
from adasde.experiments.bench.targets import ModelTarget
from adasde.sampling.noise import SeededNoise
from adasde.utils.batching import in_chunks

HERE = Path(__file__).parent
IMAGES, RANGES = 3000, 3
FIRST = {"test": 2_000_000, "validation": 900_000_000}


def trained(
    goal: ModelTarget, recipe: str, nfe: int, seed: int, changes: dict[str, Any]
) -> adasde.Coefficients:
    """Coefficients of the recipe with ``changes`` to its settings."""
    taught = RECIPES[recipe].at(nfe).get("teacher", {})
    return adasde.distill_coefficients(
        goal.bind(range(1)),
        goal.shape,
        nfe,
        recipe=recipe,
        pool=taught.get("trajectories", 8000),
        features=goal.features,
        real=goal.reference,
        bind=goal.bind,
        seed=seed,
        **changes,
    )


def fid(goal: ModelTarget, table: adasde.Coefficients, first: int) -> list[float]:
    """FID of every range of images."""

    def draw(seeds: range) -> torch.Tensor:
        latents = adasde.latents(seeds, goal.shape)
        return adasde.sample(goal.bind(seeds), latents, table, SeededNoise(seeds))

    ranges = [range(first + k * IMAGES, first + (k + 1) * IMAGES) for k in range(RANGES)]
    return [goal.evaluate(in_chunks(seeds, 1000, draw))["fid"] for seeds in ranges]


def student(goal: ModelTarget, recipe: str, nfe: int, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """One row of the results."""
    started = time.perf_counter()
    table = trained(goal, recipe, nfe, seed, changes)
    seconds = round(time.perf_counter() - started, 1)
    found = {name: fid(goal, table, first) for name, first in FIRST.items()}
    means = {f"{name}_fid": statistics.fmean(values) for name, values in found.items()}
    return {**means, "seconds": seconds, "gamma": table.gamma.tolist(), "values": found}


def summary(rows: dict[str, Any]) -> str:
    """Mean test FID over training seeds, a line a recipe and budget."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, row in rows.items():
        groups.setdefault(key.rpartition(" seed ")[0], []).append(row)
    lines = []
    for name, members in groups.items():
        test, chosen = ([row[f"{which}_fid"] for row in members] for which in ("test", "validation"))
        text = " ".join(f"{value:.3f}" for value in test)
        lines.append(
            f"{name}: test {statistics.fmean(test):.3f} ({text}), validation {statistics.fmean(chosen):.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = lambda text: [int(word) for word in text.split(",")]  # noqa: E731
    parser.add_argument("--model", default="digits")
    parser.add_argument(
        "--recipes", type=lambda text: text.split(","), default=["paper", "single-step", "multistep"]
    )
    parser.add_argument("--nfe", type=numbers, default=[3, 5, 7, 9])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="settings of distillation, name=value")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in options.set)}
    out = options.out or HERE / "results" / f"students-{options.model}.json"
    rows: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    goal, suffix = ModelTarget(options.model), " ".join(["", *options.set])
    wanted = [(r, n, s) for s in range(options.seeds) for r in options.recipes for n in options.nfe]
    for recipe, nfe, seed in tqdm(wanted, "students", disable=None):
        key = f"{recipe}{suffix} @ {nfe} seed {seed}"
        if key not in rows:
            rows[key] = student(goal, recipe, nfe, seed, changes)
            out.write_text(json.dumps(rows, indent=1) + "\n")
            tqdm.write(f"{key}: {rows[key]['test_fid']:.3f}, {rows[key]['seconds']} s")
    print(summary(rows))


if __name__ == "__main__":
    main()
