"""What a step of AdaSDEScheduler costs beside diffusers' DPMSolverMultistepScheduler, without the network.

64 x 64 latents of 4 channels, one image, float32, both schedulers in turns in one process:
    python benchmarks/scheduler.py --out benchmarks/results/scheduler.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from adasde.coefficients import neutral
from adasde.integrations.diffusers import AdaSDEScheduler
from adasde.schedules import schedule

SHAPE = (1, 4, 64, 64)


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
    """Print and write the ratio."""
    from diffusers import DPMSolverMultistepScheduler

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = neutral(schedule("time_uniform", 3, rho=1.0), afs=True)
    ours = AdaSDEScheduler(table.to_document(), prediction_type="epsilon")
    theirs = DPMSolverMultistepScheduler()
    pairs = [(seconds_per_step(ours, 3), seconds_per_step(theirs, 5)) for _ in range(options.pairs)]
    mine, other = (statistics.median(column) * 1e6 for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in pairs)
    result = {"ours_us": round(mine, 1), "dpmpp_multistep_us": round(other, 1), "ratio": round(ratio, 3)}
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result | {"shape": SHAPE, "pairs": options.pairs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
