"""How much does the training seed matter? Students of params.yaml from many seeds, judged by the bench.

    python benchmarks/training_seeds.py                      # 20 seeds at 7 evaluations
    python benchmarks/training_seeds.py --nfe 5 --seeds 3

Every student is distilled by the pipeline's own stages from trajectories of its own seeds and measured on
3 000 images of the reported seeds. Results: benchmarks/results/training_seeds.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch
from tqdm import tqdm

import adasde
from adasde.bench.cells import Measure, Sampler
from adasde.bench.store import Store
from adasde.params import Params, load_params
from adasde.stages import distill, fetch, teacher

HERE = Path(__file__).parent


def student(params: Params, nfe: int, folder: Path, seed: int) -> Path:
    """The coefficient file of params.yaml, trained with ``seed``."""
    chosen = params.model_copy(update={"seed": seed})
    shards, out = folder / f"teacher-{seed}", folder / f"student-{seed}"
    teacher(chosen, nfe, checkpoint=folder / "checkpoint", out=shards)
    distill(chosen, nfe, checkpoint=folder / "checkpoint", teacher=shards, out=out)
    return (out / "coefficients.json").rename(folder / f"seed-{seed}.json")


def fid(params: Params, nfe: int, table: Path, images: int) -> float:
    """FID on the first reported seeds."""
    sigmas = tuple(adasde.Coefficients.load(table).sigmas.tolist())
    first = params.sample.first_seed
    cell = Measure(params.model, Sampler(sigmas, params.afs, table=str(table)), nfe, first, first + images)
    return cell.compute(Store(table.parent / "cells"))["metrics"]["fid"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", default="params.yaml", type=Path)
    parser.add_argument("--nfe", type=int, default=7)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "training_seeds.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(options.params)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fetch(params, out=folder / "checkpoint")
        values = [
            fid(params, options.nfe, student(params, options.nfe, folder, seed), options.images)
            for seed in tqdm(range(options.seeds), "training seeds", disable=None)
        ]
    middle = statistics.median(values)
    result = {"nfe": options.nfe, "fid": values, "median": middle, "worst / median": max(values) / middle}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
