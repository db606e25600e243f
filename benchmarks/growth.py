"""How the cost grows: with images, with resolution, with evaluations; and what a second process saves.

    python benchmarks/growth.py
    python benchmarks/growth.py --repeat 3                    # quicker

The network is that of glyphs with random weights; costs do not depend on them.
* sampling with 5 evaluations, per image, over 16 images in one batch;
* sampling and an iteration of the distillation over as many passes of the bare network, at several
  resolutions and budgets (an iteration also goes back through all of them);
* an iteration of the distillation by two processes of ``torchrun`` over one, one thread each: 64
  trajectories in pieces of 32.

Ratios within one run, medians. Results: benchmarks/results/growth.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from overhead import ratio, seconds, table_of

import adasde
from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import distill
from adasde.distillation.losses import Batch
from adasde.models.core.preconditioning import Preconditioned
from adasde.models.families.toy.unet import UNet
from adasde.sampling.coefficients import MULTISTEP
from adasde.types import Denoiser
from adasde.utils.distributed import ALONE, joined

HERE = Path(__file__).parent
BATCH = 64


def network(resolution: int) -> tuple[Denoiser, tuple[int, ...]]:
    """A denoiser with random weights, and the shape of its images."""
    torch.manual_seed(0)
    model = Preconditioned(UNet(3, classes=26), 0.55).eval().requires_grad_(False)
    return model, (3, resolution, resolution)


def sampling(denoise: Denoiser, shape: tuple[int, ...], nfe: int, batch: int, images: int) -> None:
    table = table_of(MULTISTEP, nfe, gamma=0.0)
    for first in range(0, images, batch):
        seeds = range(first, first + batch)
        adasde.sample(denoise, adasde.latents(seeds, shape), table, adasde.SeededNoise(seeds))


def bare(denoise: Denoiser, shape: tuple[int, ...], nfe: int, batch: int) -> None:
    x, sigma = torch.zeros(batch, *shape), torch.tensor(1.0)
    with torch.no_grad():
        for _ in range(nfe):
            denoise(x, sigma)


def student(denoise: Denoiser, shape: tuple[int, ...], nfe: int, **settings: Any) -> Iterator[object]:
    """Iterations of the recipe's form on states that stand for the teacher's, without an extractor."""
    recipe = DistillSettings(solver=MULTISTEP, learn_grid=True, energy_weight=3.0, batch=BATCH)
    sigmas = table_of(MULTISTEP, nfe, gamma=0.0).sigmas
    latents = adasde.latents(range(BATCH), shape)
    whole = Batch(range(BATCH), torch.stack([sigmas[0].float() * latents, torch.zeros_like(latents)]))
    group = settings.pop("group", ALONE)
    given = {"settings": replace(recipe, **settings), "real": latents.flatten(1), "group": group}
    return distill(denoise, repeat(whole), sigmas, **given)


def by_images(times: int) -> dict[str, float]:
    denoise, shape = network(16)
    alone, found = partial(sampling, denoise, shape, 5, 16, 16), {}
    for batch, images in ((16, 64), (64, 64), (64, 256), (256, 256)):
        many = partial(sampling, denoise, shape, 5, batch, images)
        found[f"per image, {images} images in batches of {batch}, over 16 in one"] = (
            ratio(many, alone, times) * 16 / images
        )
    return found


def by_size(times: int) -> dict[str, float]:
    found = {}
    for resolution, nfe in ((8, 5), (16, 3), (16, 5), (16, 9), (32, 5)):
        denoise, shape = network(resolution)
        passes = partial(bare, denoise, shape, nfe, BATCH)
        drawn = partial(sampling, denoise, shape, nfe, BATCH, BATCH)
        learnt = partial(next, student(denoise, shape, nfe))
        where = f"{resolution}x{resolution}, NFE {nfe}"
        found |= {
            f"sampling / network, {where}": ratio(drawn, passes, times),
            f"iteration / network, {where}": ratio(learnt, passes, times),
        }
    return found


def by_processes(times: int) -> dict[str, float]:
    """Both started by torchrun, so that both exchange their gradients."""
    spent = {}
    for count in (1, 2):
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        command = [sys.executable, *launch, __file__, "--process", "--repeat", str(times)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        spent[count] = float(done.stdout)
    return {"an iteration, two processes / one": spent[2] / spent[1]}


def process(times: int) -> None:
    """Print the seconds of an iteration that the processes of torchrun share."""
    with joined() as group:
        denoise, shape = network(16)
        steps = student(denoise, shape, 5, micro_batch=BATCH // 2, group=group)
        next(steps)
        values = seconds(partial(next, steps), times)
        if group.rank == 0:
            print(statistics.median(values))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--process", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "growth.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.process:
        process(options.repeat)
        return
    found = {}
    for part in (by_images, by_size, by_processes):
        found |= part(options.repeat)
    for name, value in found.items():
        print(f"{name:75s} {value:.3f}")
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
