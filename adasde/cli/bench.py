"""``adasde bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from adasde.cli.common import numbers
from adasde.utils.console import Json

Models = Annotated[str, typer.Option(help="Models, separated by commas: digits, glyphs, mixture:0.1.")]
Budgets = Annotated[str, typer.Option(help="Budgets: network evaluations per sample.")]
Solvers = Annotated[str, typer.Option(help="Classical: all, none, or names with options, unipc:order=3,heun")]
Schedules = Annotated[
    str, typer.Option(help="Tried for every classical solver: names with rho, or nodes 80/10/1/0.002.")
]
Recipes = Annotated[str, typer.Option(help="Learned: all, none, or names, paper,multistep,plugin-ipndm.")]
RecipeSchedules = Annotated[
    str, typer.Option(help="Tried for every learned sampler whose recipe names none.")
]
Recipe = Annotated[str, typer.Option(help="Changes to every recipe: trajectories=4000:batch=32.")]
Trajectories = Annotated[
    int, typer.Option(help="Teacher trajectories for all recipes; --recipe trajectories= counts repeats.")
]
Images = Annotated[int, typer.Option(help="Images in a seed range.")]
Ranges = Annotated[int, typer.Option(help="Disjoint seed ranges: mean and spread.")]
ChoiceImages = Annotated[int, typer.Option(help="Validation images: schedules are chosen on them.")]
FirstSeed = Annotated[int, typer.Option(help="First test seed.")]
DecidingMetric = Annotated[
    str, typer.Option(help="Deciding metric: fid, sliced_wasserstein, frechet; default: the model's.")
]
Workers = Annotated[int, typer.Option(min=0, help="Processes of one thread; 0: one a core.")]
Out = Annotated[Path, typer.Option(help="Folder to write; results in it are not computed again.")]


def bench(
    model: Models = "digits",
    nfe: Budgets = "3,5,7,9",
    solver: Solvers = "all",
    schedule: Schedules = "polynomial:7,logsnr,time_uniform",
    learned: Recipes = "all",
    learned_schedule: RecipeSchedules = "polynomial:7,time_uniform:1.5",
    recipe: Recipe = "",
    trajectories: Trajectories = 8000,
    images: Images = 3000,
    ranges: Ranges = 3,
    choice_images: ChoiceImages = 1000,
    first_seed: FirstSeed = 2_000_000,
    metric: DecidingMetric = "",
    workers: Workers = 0,
    out: Out = Path("report/bench"),
    as_json: Json = False,
) -> None:
    """Measure every sampler side by side: tables, CSV, JSON, plots, sheets. A stopped run resumes."""
    from adasde.experiments.bench.samplers import (
        LEARNED,
        all_classical,
        parse_learned,
        parse_schedule,
        parse_solver,
        with_recipe,
        words,
    )
    from adasde.experiments.bench.settings import BenchSettings

    chosen = LEARNED.values() if learned == "all" else map(parse_learned, words(learned))
    settings = BenchSettings(
        targets=tuple(words(model)),
        nfe=numbers(nfe, int, "--nfe"),
        classical=tuple(all_classical() if solver == "all" else map(parse_solver, words(solver))),
        grids=tuple(map(parse_schedule, words(schedule))),
        learned=tuple(with_recipe(entry, recipe) for entry in chosen),
        learned_grids=tuple(map(parse_schedule, words(learned_schedule))),
        trajectories=trajectories,
        images=images,
        ranges=ranges,
        choice_images=choice_images,
        first_seed=first_seed,
        metric=metric,
    )
    from adasde.experiments.bench.output import bench_table, write_outputs
    from adasde.experiments.bench.run import bench as run
    from adasde.experiments.bench.run import cores

    document = run(settings, out, workers=workers or cores())
    files = write_outputs(document, out)
    if as_json:
        print(json.dumps({"stage": "bench", **files}))
        return
    from rich.console import Console

    for name, result in document["targets"].items():
        Console().print(bench_table(name, result))
    print("*: with the analytic first step (AFS)")
    print(f"bench: {files['out']}, {files['json']}, {files['csv']}")
