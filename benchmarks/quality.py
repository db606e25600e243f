"""Ours, the best classical sampler and the paper's recipe, also by an extractor that no training saw.

    adasde bench --model digits --out report/bench && python benchmarks/quality.py
    python benchmarks/quality.py --model glyphs --bench report/glyphs/bench.json --starts 0

Reads what ``adasde bench`` chose (the best classical row of any kind and our table, at every budget), trains
coefficients by the recipe ``paper`` with some training seeds, draws the test seeds again and evaluates all
images by two extractors: the model's own, which our loss uses, and a second classifier of another width,
trained here from another seed. The paper's coefficients are kept beside the bench, in ``paper``.
Results: benchmarks/results/quality-MODEL.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from students import trained
from torch import Tensor

import adasde
from adasde.evaluation.metrics import Statistics, fid, image_features
from adasde.experiments.bench.targets import ModelTarget
from adasde.models.families.toy.classifier import Classifier
from adasde.models.families.toy.data import digits, real_images
from adasde.models.families.toy.recipes import RECIPES, augment
from adasde.models.families.toy.trainer import descend_classifier, fit_classifier
from adasde.models.families.toy.training import deterministic
from adasde.sampling.noise import SeededNoise
from adasde.utils.batching import in_chunks

HERE = Path(__file__).parent
OURS = "AdaSDE multistep"
SEED = 1

Draw = Callable[[range], Tensor]


class Unseen:
    """Features of a second classifier."""

    def __init__(self, name: str) -> None:
        self.network = (_of_digits() if name == "digits" else _of_glyphs()).eval().requires_grad_(False)

    def __call__(self, images: Tensor, /) -> Tensor:
        return self.network.features(images)


def _of_digits() -> Classifier:
    images, labels = digits()
    recipe = RECIPES["digits"].classifier
    with deterministic(SEED) as generator:
        network = Classifier(images.shape[1:], channels=(24, 48), units=48)

        def batch(done: int) -> tuple[Tensor, Tensor]:
            rows = torch.randint(len(images), (recipe.batch,), generator=generator)
            return augment(images[rows], recipe, generator), labels[rows]

        descend_classifier(network, batch, recipe)
        network.normalise(images)
    return network


def _of_glyphs() -> Classifier:
    recipe = RECIPES["glyphs"]
    settings = replace(recipe.classifier, iterations=2500, channels=(24, 48, 48), units=48)
    return fit_classifier(recipe, settings, seed=SEED)[0]


class Evaluator:
    """FID of samples by both extractors, over the reported seed ranges."""

    def __init__(self, goal: ModelTarget, *, images: int, ranges: int, first: int) -> None:
        self.goal, self.pieces = (
            goal,
            [range(first + k * images, first + (k + 1) * images) for k in range(ranges)],
        )
        real = real_images(goal.name)
        self.extractors = {"own": goal.extractor, "unseen": Unseen(goal.name)}
        self.real = {name: Statistics.of(image_features(real, one)) for name, one in self.extractors.items()}

    def __call__(self, draw: Draw) -> dict[str, Any]:
        values: dict[str, list[float]] = {name: [] for name in self.extractors}
        for piece in self.pieces:
            images = self.goal.pictures(in_chunks(piece, 1000, draw))
            for name, extractor in self.extractors.items():
                values[name].append(fid(image_features(images, extractor), self.real[name]))
        return {name: {"mean": statistics.fmean(many), "values": many} for name, many in values.items()}


def fid_of(row: dict[str, Any]) -> float:
    return row["metrics"]["fid"]["mean"]


def of_table(goal: ModelTarget, table: adasde.Coefficients) -> Draw:
    def draw(seeds: range) -> Tensor:
        latents = adasde.latents(seeds, goal.shape)
        return adasde.sample(goal.bind(seeds), latents, table, SeededNoise(seeds))

    return draw


def of_row(goal: ModelTarget, row: dict[str, Any]) -> Draw:
    """The classical sampler of a row of the bench."""
    name, _, rho = row["schedule"].partition(" ")
    grid: dict[str, Any] = {"sigma_min": goal.sigma_min, "sigma_max": goal.sigma_max, "rho": float(rho or 1)}
    sigmas = adasde.schedule(name, row["steps"], **grid)

    def draw(seeds: range) -> Tensor:
        latents, noise = adasde.latents(seeds, goal.shape), SeededNoise(seeds)
        return adasde.solve(goal.bind(seeds), latents, sigmas, row["solver"], afs=row["afs"], noise=noise)

    return draw


def paper_table(goal: ModelTarget, nfe: int, seed: int, *, folder: Path) -> adasde.Coefficients:
    """Coefficients of the recipe ``paper``; trained once."""
    path = folder / f"{goal.name}-nfe{nfe}-{seed}.json"
    if not path.exists():
        trained(goal, "paper", nfe, seed, {}).save(path)
    return adasde.Coefficients.load(path)


def compared(
    goal: ModelTarget, judge: Evaluator, rows: list[dict[str, Any]], cells: Path, starts: int
) -> dict:
    """One budget: the three samplers, and ours over the others by both extractors."""
    nfe = rows[0]["nfe"]
    best = min(
        (row for row in rows if row["family"] != "learned"), key=lambda row: row["metrics"]["fid"]["mean"]
    )
    mine = next(row for row in rows if row["label"] == OURS)
    found: dict[str, Any] = {
        "classical": {"solver": best["label"], **judge(of_row(goal, best))},
        "ours": judge(of_table(goal, adasde.Coefficients.load(cells / mine["table"]))),
    }
    runs = []
    for seed in range(starts):
        table = paper_table(goal, nfe, seed, folder=cells.parent.parent / "paper")
        runs.append(judge(of_table(goal, table)))
    if runs:
        found["paper"] = {
            name: {"mean": statistics.fmean(run[name]["mean"] for run in runs)} for name in judge.extractors
        } | {"runs": runs}
    ratios = {
        f"ours / {other}, {name}": found["ours"][name]["mean"] / found[other][name]["mean"]
        for other in ("classical", "paper")
        if other in found
        for name in judge.extractors
    }
    return {"ratios": ratios} | found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="digits", choices=["digits", "glyphs"])
    parser.add_argument("--bench", default="report/bench/bench.json", type=Path)
    parser.add_argument("--starts", type=int, default=3, help="training seeds of the recipe paper")
    options = parser.parse_args()
    torch.set_num_threads(1)
    document = json.loads(options.bench.read_text())
    settings, rows = document["settings"], document["targets"][options.model]["rows"]
    goal = ModelTarget(options.model)
    judge = Evaluator(
        goal, images=settings["images"], ranges=settings["ranges"], first=settings["first_seed"]
    )
    found = {}
    for nfe in settings["nfe"]:
        of_budget = [row for row in rows if row["nfe"] == nfe]
        found[str(nfe)] = compared(goal, judge, of_budget, options.bench.parent / "cells", options.starts)
        print(nfe, json.dumps(found[str(nfe)]["ratios"], indent=1), flush=True)
    out = HERE / "results" / f"quality-{options.model}.json"
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
