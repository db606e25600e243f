"""``adasde analyse`` and ``adasde bounds``: the paper's analysis of ODE and SDE solvers, on two circles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from adasde.cli.common import numbers
from adasde.utils.console import Json


def analyse(
    out: Annotated[Path, typer.Option(help="Folder to write.", metavar="FOLDER")] = Path("report/analysis"),
    gamma: Annotated[
        str | None, typer.Option(help="Noise injections besides 0, the ODE (default: 0.001,0.005,0.01).")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Numbers of steps (default: 5,10,15,20,25,30,40).")
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="Training iterations (default: 2500).")] = None,
    samples: Annotated[int | None, typer.Option(help="Points per cloud (default: 40000).")] = None,
    block: Annotated[
        int | None, typer.Option(help="Points per exact distance in the plane (default: 700).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of training, data and noise.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller defaults: a look in under a minute.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Total, gradient and discretisation error of ODE and SDE sampling, on two circles.

    Trains a small network and decides which of the paper's statements hold, from Wasserstein-1 distances
    with confidence bands to data and to samples of the exact denoiser. Takes minutes on one thread.
    """
    asked: dict[str, Any] = {
        "gammas": gamma and numbers(gamma, float, "--gamma"),
        "steps": steps and numbers(steps, int, "--steps"),
        "iterations": iterations,
        "samples": samples,
        "block": block,
        "seed": seed,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    from adasde.experiments.two_circles import QUICK, Settings
    from adasde.experiments.two_circles import analyse as run

    summary = run(replace(QUICK if quick else Settings(), **given), out=out)
    if as_json:
        print(json.dumps({"stage": "analyse", **summary}))
        return
    for verdict in summary["verdicts"]:
        print(f"{verdict['statement']} By {verdict['measure']}: {verdict['verdict']}.")
    print(f"analyse: {summary['out']}")


def bounds(
    out: Annotated[Path, typer.Option(help="Folder to write.", metavar="FOLDER")] = Path("report/bounds"),
    nfe: Annotated[
        str | None, typer.Option("--nfe", help="Evaluations of the students (default: 3,5,7,9).")
    ] = None,
    gamma: Annotated[
        str | None, typer.Option(help="Gammas besides 0 and the learned (default: 0.0003,0.02,0.2).")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Training iterations of the network (default: 2500).")
    ] = None,
    trajectories: Annotated[
        int | None, typer.Option(help="Trajectories that a student sees (default: 102400).")
    ] = None,
    bins: Annotated[int | None, typer.Option(help="Bins of a radial law (default: 2000).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of training and data.")] = 0,
    as_json: Json = False,
) -> None:
    """Every term of the paper's error bounds, measured at every step on two circles.

    Trains a small network and distils students from it. Total variation and Wasserstein-1 distances come
    from radial laws on a grid, not from samples. Takes minutes on one thread.
    """
    asked: dict[str, Any] = {
        "nfes": nfe and numbers(nfe, int, "--nfe"),
        "gammas": gamma and numbers(gamma, float, "--gamma"),
        "trajectories": trajectories,
        "bins": bins,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    from adasde.experiments.two_circles import BoundSettings, Settings
    from adasde.experiments.two_circles import bounds as run

    circles = Settings(seed=seed) if iterations is None else Settings(seed=seed, iterations=iterations)
    summary = run(BoundSettings(**given, circles=circles), out=out)
    if as_json:
        print(json.dumps({"stage": "bounds", **summary}))
        return
    for inequality, excess in summary["violations"].items():
        print(f"{inequality}: {'holds' if excess <= 1e-6 else f'VIOLATED by {excess:.3g}'}.")
    print(f"bounds: {summary['out']}")
