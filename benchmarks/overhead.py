"""What sampling, the teacher and the imports cost on top of the network, as ratios within one run.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --repeat 3 --trajectories 4000      # quicker

* sampling (latents, all steps, injected noise) over NFE passes of the bare network on the same batches:
  digits in batches of 1000 and 64, glyphs (a small U-Net, 25 times as costly) in batches of 64;
* the teacher's trajectories over as many passes of the bare network;
* the stage teacher with two processes over one, which imports and loads the model in each;
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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import adasde
from adasde.config.params import load_params
from adasde.distillation.distill import initial_student
from adasde.models.loading import load_model
from adasde.sampling.solvers import evaluations_of
from adasde.stages.fetch import fetch
from adasde.stages.teacher import teacher as teacher_stage

HERE = Path(__file__).parent
STUDENT = "multistep"


def seconds(call, repeat: int) -> list[float]:
    values = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        values.append(time.perf_counter() - started)
    return values


def table_of(solver: str, nfe: int, *, gamma: float) -> adasde.Coefficients:
    """The start of distillation, with noise wherever the form allows it."""
    grid = adasde.schedule("time_uniform", adasde.steps_for_nfe(solver, nfe, afs=True), rho=1.5)
    settings = adasde.DistillSettings(solver=solver)
    with torch.no_grad():
        table = initial_student(grid, settings=settings, afs=True)()
    return dataclasses.replace(table, gamma=torch.where(table.gamma > 0, gamma, 0.0))


def ratio(ours: Callable[[], object], bare: Callable[[], object], repeat: int) -> float:
    """The median of pairs that were measured one after the other: the same weather for both."""
    ours(), bare()
    pairs = [(seconds(ours, 1)[0], seconds(bare, 1)[0]) for _ in range(repeat)]
    return statistics.median(mine / network for mine, network in pairs)


def passes(name: str, chunks: list[range], count: int) -> Callable[[], None]:
    """``count`` passes of the bare network for every batch."""
    model, sigma = load_model(name), torch.tensor(1.0)
    inputs = [(model.bind(seeds), adasde.latents(seeds, model.shape)) for seeds in chunks]

    @torch.no_grad()
    def bare() -> None:
        for denoise, x in inputs:
            for _ in range(count):
                denoise(x, sigma)

    return bare


def sampling_ratio(name: str, table: adasde.Coefficients, *, images: int, batch: int, repeat: int) -> float:
    model = load_model(name)
    chunks = [range(first, first + batch) for first in range(0, images, batch)]

    def ours() -> None:
        for seeds in chunks:
            latents = adasde.latents(seeds, model.shape)
            adasde.sample(model.bind(seeds), latents, table, adasde.SeededNoise(seeds))

    return ratio(ours, passes(name, chunks, table.nfe), repeat)


def trajectory_ratio(name: str, *, batch: int, repeat: int) -> float:
    """The teacher of params.yaml's student ``STUDENT`` at 5 evaluations."""
    budget = load_params(HERE.parent / "params.yaml").at(5, STUDENT)
    taught, steps, model = budget.params.teacher, budget.steps, load_model(name)
    teacher = adasde.Teacher(taught.solver, taught.inserted, taught.substeps)
    count = evaluations_of(taught.solver) * steps * (taught.inserted + 1) * taught.substeps
    seeds = range(batch)

    def ours() -> None:
        ends = {"sigma_min": model.sigma_min, "sigma_max": model.sigma_max, "rho": 1.5}
        latents = adasde.latents(seeds, model.shape)
        teacher.states(model.bind(seeds), latents, schedule="time_uniform", steps=steps, **ends)

    return ratio(ours, passes(name, [seeds], count), repeat)


def workers_ratio(trajectories: int) -> float:
    """The stage teacher with two processes over one, on digits at 5 evaluations."""
    params = load_params(HERE.parent / "params.yaml").at(5, STUDENT).params
    taught = params.teacher.model_copy(update={"trajectories": trajectories, "shard": trajectories // 8})
    params = params.model_copy(update={"teacher": taught})

    def timed(workers: int) -> float:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            fetch(params, out=folder / "checkpoint")
            given = {"checkpoint": folder / "checkpoint", "out": folder / "teacher", "workers": workers}
            return seconds(lambda: teacher_stage(params, 5, **given), 1)[0]

    alone = timed(1)
    return timed(2) / alone


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
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--trajectories", type=int, default=120_000, help="of the stage teacher")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, float] = {"from adasde import * / import torch": import_ratio(options.repeat)}
    for name, batch, images in (("digits", 1000, options.images), ("digits", 64, 640), ("glyphs", 64, 64)):
        for solver, gamma in (("adasde-multistep", 0.0), ("adasde", 0.0), ("adasde", 0.01)):
            for nfe in (3, 5, 7, 9):
                label = (
                    f"sampling / network, {name}, batch {batch}, {solver}{', noise' * (gamma > 0)}, NFE {nfe}"
                )
                table = table_of(solver, nfe, gamma=gamma)
                sizes = {"images": images, "batch": batch, "repeat": options.repeat}
                result[label] = sampling_ratio(name, table, **sizes)
    for name, batch in (("digits", 500), ("glyphs", 64)):
        label = f"trajectories / network, {name}, batch {batch}"
        result[label] = trajectory_ratio(name, batch=batch, repeat=options.repeat)
    result["stage teacher, two processes / one"] = workers_ratio(options.trajectories)
    for name, value in result.items():
        print(f"{name:75s} {value:.3f}")
    out = HERE / "results" / "overhead.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
