"""How much does the training seed matter? A student of params.yaml from many seeds, judged by the bench.

    python benchmarks/training_seeds.py                      # 20 seeds at 3, 5, 7 and 9 evaluations
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
from adasde.config.params import Params, load_params
from adasde.experiments.bench.cell_cache import CellCache
from adasde.experiments.bench.cells import Measure, SamplerSpec
from adasde.stages.distill import distill
from adasde.stages.fetch import fetch
from adasde.stages.reference import reference
from adasde.stages.teacher import teacher

HERE = Path(__file__).parent


def student(params: Params, nfe: int, folder: Path, seed: int) -> Path:
    """The coefficient file of params.yaml, trained with ``seed``."""
    chosen = params.model_copy(update={"seed": seed})
    shards, out = (folder / f"{role}-nfe{nfe}-{seed}" for role in ("teacher", "student"))
    teacher(chosen, nfe, checkpoint=folder / "checkpoint", out=shards)
    given = {"checkpoint": folder / "checkpoint", "reference": folder / "reference"}
    distill(chosen, nfe, **given, teacher=shards, out=out)
    return (out / "coefficients.json").rename(folder / f"nfe{nfe}-seed{seed}.json")


def fid(params: Params, nfe: int, table: Path, images: int) -> float:
    """FID on the first reported seeds."""
    sigmas = tuple(adasde.Coefficients.load(table).sigmas.tolist())
    first = params.sample.first_seed
    cell = Measure(
        params.model, SamplerSpec(sigmas, params.afs, table=str(table)), nfe, first, first + images
    )
    return cell.compute(CellCache(table.parent / "cells"))["metrics"]["fid"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", default="params.yaml", type=Path)
    parser.add_argument(
        "--nfe", type=lambda text: [int(word) for word in text.split(",")], default=[3, 5, 7, 9]
    )
    parser.add_argument("--student", default="multistep")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "training_seeds.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(options.params)
    params = params.model_copy(update={"students": [options.student]})
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fetch(params, out=folder / "checkpoint")
        short = params.evaluate.model_copy(update={"floor_steps": 1})  # the floor is not looked at
        quick = params.model_copy(update={"evaluate": short})
        reference(quick, folder / "checkpoint", out=folder / "reference", metrics=folder / "floor.json")
        for nfe in options.nfe:
            values = [
                fid(params, nfe, student(params, nfe, folder, seed), options.images)
                for seed in tqdm(range(options.seeds), f"training seeds at {nfe}", disable=None)
            ]
            middle = statistics.median(values)
            found[str(nfe)] = {"fid": values, "median": middle, "worst / median": max(values) / middle}
            print(nfe, json.dumps(found[str(nfe)]), flush=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
