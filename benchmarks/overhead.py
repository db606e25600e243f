"""What the sampler costs on top of the network, as ratios within one run.

    python benchmarks/overhead.py

* sampling 5 000 images with AdaSDE over NFE x one pass of the bare network, per NFE;
* ``from adasde import *`` (every public name; a plain import loads none) over ``import torch``, in fresh
  interpreters, medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import adasde
from adasde.models import load_model

HERE = Path(__file__).parent


def seconds(call, repeat: int) -> list[float]:
    values = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        values.append(time.perf_counter() - started)
    return values


def table_with_noise(nfe: int) -> adasde.Coefficients:
    grid = adasde.schedule("time_uniform", adasde.steps_for_nfe("adasde", nfe, afs=True), rho=1)
    neutral = adasde.neutral(grid, afs=True)
    gamma = torch.full_like(neutral.gamma, 0.01)
    gamma[0] = 0
    return dataclasses.replace(neutral, gamma=gamma)


def sampling_ratio(nfe: int, images: int, batch: int, repeat: int, *, noise: bool) -> float:
    """(latents, all steps, injected noise) / (NFE passes of the network on the same batches)."""
    model = load_model("digits")
    table = table_with_noise(nfe)
    if not noise:
        table = adasde.neutral(table.sigmas, afs=True)
    chunks = [range(first, first + batch) for first in range(0, images, batch)]
    inputs = [adasde.latents(seeds, model.shape) for seeds in chunks]
    sigma = torch.tensor(1.0)

    def ours() -> None:
        for seeds in chunks:
            latents = adasde.latents(seeds, model.shape)
            adasde.sample(model.denoise, latents, table, adasde.SeededNoise(seeds))

    @torch.no_grad()
    def bare() -> None:
        for x in inputs:
            for _ in range(nfe):
                model.denoise(x, sigma)

    ours(), bare()
    pairs = [(seconds(ours, 1)[0], seconds(bare, 1)[0]) for _ in range(repeat)]  # interleaved: same weather
    return statistics.median(mine / network for mine, network in pairs)


def import_ratio(repeat: int) -> float:
    def run(work: str) -> float:
        code = f"import time; t = time.perf_counter(); {work}; print(time.perf_counter() - t)"
        return float(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        )

    pairs = [(run("from adasde import *"), run("import torch")) for _ in range(repeat)]
    return statistics.median(mine for mine, _ in pairs) / statistics.median(torch_ for _, torch_ in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict[str, float] = {"from adasde import * / import torch": import_ratio(options.repeat)}
    for noise in (False, True):
        for nfe in (3, 5, 7, 9):
            name = f"sampling / network, NFE {nfe}{', gamma > 0' * noise}"
            result[name] = sampling_ratio(nfe, options.images, options.batch, options.repeat, noise=noise)
    for name, value in result.items():
        print(f"{name:45s} {value:.3f}")
    out = HERE / "results" / "overhead.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
