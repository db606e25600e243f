"""What a step of AdaSDEScheduler costs beside diffusers' DPMSolverMultistepScheduler, without the network.

64 x 64 latents of 4 channels, one image, float32, one thread, 5 evaluations; without new noise, with it
(gamma > 0, one draw a step), and the other scheduler, in turns in one process:
    python benchmarks/scheduler.py --out benchmarks/results/scheduler.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

import diffusers
import torch
from diffusers import DPMSolverMultistepScheduler

from adasde.integrations.diffusers import AdaSDEScheduler
from adasde.sampling.coefficients import neutral
from adasde.sampling.schedules import schedule

SHAPE = (1, 4, 64, 64)
LIMIT = 1.0


def seconds_per_step(scheduler, steps: int) -> float:
    """One image's worth of scheduler calls, over its evaluations."""
    scheduler.set_timesteps(steps)
    x = torch.randn(SHAPE) * float(scheduler.init_noise_sigma)
    output = torch.randn(SHAPE)
    began = time.perf_counter()
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)
        x = scheduler.step(output, t, x).prev_sample
    return (time.perf_counter() - began) / len(scheduler.timesteps)


def main() -> None:
    """Print and write the medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    silent = neutral(schedule("time_uniform", 3, rho=1.0), afs=True)
    noisy = replace(silent, gamma=torch.tensor([0.0, 0.02, 0.02]))
    ours, with_noise = (AdaSDEScheduler(t.to_document(), prediction_type="epsilon") for t in (silent, noisy))
    turns = ((ours, 3), (with_noise, 3), (DPMSolverMultistepScheduler(), 5))
    rounds = [[seconds_per_step(*turn) for turn in turns] for _ in range(options.pairs)]
    names = ("ours_us", "ours_with_noise_us", "dpmpp_multistep_us")
    medians = (round(statistics.median(column) * 1e6, 1) for column in zip(*rounds, strict=True))
    ratios = {
        name: round(statistics.median(each[k] / each[2] for each in rounds), 3)
        for k, name in enumerate(("ratio", "ratio_with_noise"))
    }
    result = {
        **dict(zip(names, medians, strict=True)),
        **ratios,
        "limit": LIMIT,
        "reached": max(ratios.values()) <= LIMIT,
        "shape": SHAPE,
        "pairs": options.pairs,
        "torch": torch.__version__.partition("+")[0],
        "diffusers": diffusers.__version__,
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
