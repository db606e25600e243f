"""Which setting is each classical solver's best, and how far does AdaSDE get: the numbers of the README.

    python benchmarks/quality.py                     # all of it: about half an hour on 2 cores
    python benchmarks/quality.py --nfe 5 --seeds 0   # one budget, without the spread over training seeds

Every classical solver is tried on three schedules, with and without the analytic first step (AFS), on seeds
that nothing else uses; its best setting is then measured on the seeds of params.yaml's protocol. The student
is distilled by the pipeline's own stages. Results: benchmarks/results/quality.json and quality.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import adasde
from adasde.errors import SolverError
from adasde.features import load_features
from adasde.metrics import Statistics, fid, image_features, to_uint8
from adasde.models import load_model
from adasde.models.data import real_images
from adasde.params import Params, load_params
from adasde.stages import distill, fetch, teacher
from adasde.types import Denoiser

SCHEDULES = {"polynomial": 7.0, "logsnr": 1.0, "time_uniform": 1.0}
SINGLE_STEP = ("euler", "heun", "dpm2")
SELECTION_SEED = 900_000_000
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """A classical solver as a user could choose it."""

    solver: str
    afs: bool
    schedule: str

    @property
    def family(self) -> str:
        kind = "single-step" if self.solver in SINGLE_STEP else "multistep"
        return f"{kind}{' + AFS' if self.afs and kind == 'multistep' else ''}"


class Bench:
    """Model, extractor and reference moments, loaded once."""

    def __init__(self, params: Params, images: int, ranges: int) -> None:
        self.params, self.images, self.ranges = params, images, ranges
        self.model = load_model(params.model)
        self.features = load_features(params.model)
        self.real = Statistics.of(image_features(real_images(params.model), self.features))

    def fids(self, draw, first_seed: int, ranges: int) -> list[float]:
        """FID of each seed range; ``draw(denoise, latents, seeds)`` gives x0."""
        values = []
        for k in range(ranges):
            seeds = range(first_seed + k * self.images, first_seed + (k + 1) * self.images)
            pieces = [self._images(draw, seeds[i : i + 1000]) for i in range(0, len(seeds), 1000)]
            values.append(fid(image_features(torch.cat(pieces), self.features), self.real))
        return values

    def _images(self, draw, seeds: range) -> Tensor:
        return to_uint8(draw(self.model.denoise, adasde.latents(seeds, self.model.shape), seeds))

    def reported(self, draw) -> dict[str, Any]:
        values = self.fids(draw, self.params.sample.first_seed, self.ranges)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return {"fid": statistics.fmean(values), "spread": spread, "values": values}


def classical(setting: Setting, steps: int):
    sigmas = adasde.schedule(setting.schedule, steps, rho=SCHEDULES[setting.schedule])

    def draw(denoise: Denoiser, latents: Tensor, seeds: range) -> Tensor:
        return adasde.solve(denoise, latents, sigmas, solver=setting.solver, afs=setting.afs)

    return draw


def student(table: adasde.Coefficients):
    def draw(denoise: Denoiser, latents: Tensor, seeds: range) -> Tensor:
        return adasde.sample(denoise, latents, table, adasde.SeededNoise(seeds))

    return draw


def best_settings(bench: Bench, nfe: int, bar: tqdm) -> dict[tuple[str, bool], tuple[Setting, int]]:
    """(solver, AFS) -> its best schedule, chosen on seeds that are not reported."""
    tried: dict[tuple[str, bool], list[tuple[float, Setting, int]]] = {}
    for solver in adasde.SOLVERS:
        for afs in (False, True):
            try:
                steps = adasde.steps_for_nfe(solver, nfe, afs=afs)
            except SolverError:
                continue
            for schedule in SCHEDULES:
                setting = Setting(solver, afs, schedule)
                value = bench.fids(classical(setting, steps), SELECTION_SEED, 1)[0]
                tried.setdefault((solver, afs), []).append((value, setting, steps))
                bar.update()
    return {key: min(entries, key=lambda entry: entry[0])[1:] for key, entries in tried.items()}


def distilled(params: Params, nfe: int, folder: Path, seed: int) -> adasde.Coefficients:
    """The student of params.yaml, trained with ``seed`` by the pipeline's stages."""
    chosen = params.model_copy(update={"seed": seed})
    shards, out = folder / f"teacher-{nfe}-{seed}", folder / f"student-{nfe}-{seed}"
    checkpoint = folder / "checkpoint"
    teacher(chosen, nfe, checkpoint=checkpoint, out=shards)
    distill(chosen, nfe, checkpoint=checkpoint, teacher=shards, out=out)
    return adasde.Coefficients.load(out / "coefficients.json")


def measure(bench: Bench, nfe: int, folder: Path, bar: tqdm) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for (solver, afs), (setting, steps) in best_settings(bench, nfe, bar).items():
        label = f"{solver}{' + AFS' * afs}"
        about = {"schedule": setting.schedule, "rho": SCHEDULES[setting.schedule], "family": setting.family}
        rows[label] = bench.reported(classical(setting, steps)) | about
    table = distilled(bench.params, nfe, folder, bench.params.seed)
    rows["AdaSDE"] = bench.reported(student(table)) | {"family": "AdaSDE"}
    return rows


def ratios(rows: dict[str, Any], floor: float) -> dict[str, float]:
    ours = rows["AdaSDE"]["fid"]

    def best(family: str) -> float:
        return min(row["fid"] for row in rows.values() if row["family"] == family)

    return {
        "the best single-step": ours / best("single-step"),
        "the best multistep without AFS": ours / best("multistep"),
        "the best multistep with AFS": ours / best("multistep + AFS"),
        "the 50-step teacher": ours / floor,
    }


def spread_over_seeds(bench: Bench, nfe: int, folder: Path, seeds: int) -> dict[str, Any]:
    """FID of students that were trained from ``seeds`` different seeds."""
    values = []
    for seed in tqdm(range(seeds), "training seeds", disable=None):
        table = distilled(bench.params, nfe, folder, seed)
        values += bench.fids(student(table), bench.params.sample.first_seed, 1)
    middle = statistics.median(values)
    return {"nfe": nfe, "values": values, "median": middle, "worst / median": max(values) / middle}


def as_markdown(result: dict[str, Any]) -> str:
    budgets = list(result["rows"])
    labels = list(dict.fromkeys(label for nfe in budgets for label in result["rows"][nfe]))
    head = " | ".join(f"NFE {nfe}" for nfe in budgets)
    rule = "|---" * (len(budgets) + 1) + "|"
    lines = [f"| FID ± spread (best schedule) | {head} |", rule]
    for label in sorted(labels, key=lambda name: name == "AdaSDE"):
        cells = [cell(result["rows"][nfe].get(label)) for nfe in budgets]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines += ["", f"Heun, 50 steps: {cell(result['floor'])}", "", f"| FID of AdaSDE over | {head} |", rule]
    for name in result["ratios"][budgets[0]]:
        lines.append(
            f"| {name} | " + " | ".join(f"{result['ratios'][nfe][name]:.2f}" for nfe in budgets) + " |"
        )
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    schedule = f" ({row['schedule']})" if "schedule" in row else ""
    return f"{row['fid']:.3f} ± {row['spread']:.3f}{schedule}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", default="params.yaml", type=Path)
    parser.add_argument("--nfe", type=int, nargs="*", help="budgets; default: those of params.yaml")
    parser.add_argument("--images", type=int, default=3000, help="images in a seed range")
    parser.add_argument("--ranges", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=20, help="training seeds at 7 evaluations; 0: leave out")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(options.params)
    bench = Bench(params, options.images, options.ranges)
    result: dict[str, Any] = {"images": options.images, "ranges": options.ranges, "torch": torch.__version__}
    result["floor"] = bench.reported(classical(Setting("heun", False, "polynomial"), 50))
    budgets = options.nfe or params.nfe
    with (
        tempfile.TemporaryDirectory() as scratch,
        tqdm(total=None, desc="settings tried", disable=None) as bar,
    ):
        folder = Path(scratch)
        fetch(params, out=folder / "checkpoint")
        result["rows"] = {nfe: measure(bench, nfe, folder, bar) for nfe in budgets}
        result["ratios"] = {nfe: ratios(rows, result["floor"]["fid"]) for nfe, rows in result["rows"].items()}
        if options.seeds:
            result["training seeds"] = spread_over_seeds(bench, 7, folder, options.seeds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(as_markdown(result))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
