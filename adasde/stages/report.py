"""The stage ``report``: the outputs of all other stages as pictures, one page and one JSON file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adasde.config.params import STUDENT, Params
from adasde.config.published import published_fid
from adasde.errors import DataError
from adasde.report.page import PageSection, page
from adasde.report.plots import coefficients_figure, fid_figure, losses_figure, samples_figure, save_figure
from adasde.report.results import Results, cell_text, collect, results_table
from adasde.sampling.coefficients import Coefficients
from adasde.utils.atomic_io import write_json, write_text
from adasde.utils.manifest import Manifest
from adasde.utils.progress import track
from adasde.utils.safetensors_io import load_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USE = """import adasde
from adasde.models import load_model

model = load_model("{model}")
coefficients = adasde.Coefficients.load("data/distill/nfe{nfe}/coefficients.json")
seeds = range(16)
latents = adasde.latents(seeds, model.shape)
images = adasde.sample(model.bind(seeds), latents, coefficients, adasde.SeededNoise(seeds))"""

LEAD = (
    "Few-step sampling of a frozen diffusion model with a handful of learned numbers per step, beside the "
    "classical solvers at the same number of network evaluations (NFE)."
)

COLUMNS = 16
"""Seeds shown side by side."""


@dataclass(frozen=True)
class Picture:
    """One picture of the report, not drawn yet."""

    file: str
    heading: str
    caption: str
    draw: Callable[[], Figure]


def report(params: Params, data: Path, *, out: Path) -> dict[str, Any]:
    """Write ``out``/{index.html, *.png, results.json} from the outputs of the stages under ``data``.

    Raises:
        DataError: an input is missing, damaged or does not belong to the others; nothing is written then.
    """
    results = collect(data / "metrics", params.nfe, published=published_fid(params))
    fid, *others = _charts(results, data)
    pictures = [fid, *(_samples(results, nfe, data) for nfe in results.nfe), *others]
    with track(len(pictures), "report", "pictures") as advance:
        for picture in pictures:
            save_figure(picture.draw(), out / picture.file)
            advance()
    write_json(out / "results.json", results.to_json())
    sections = [PageSection(p.heading, note=p.caption, picture=out / p.file) for p in pictures]
    write_text(out / "index.html", results_page(results, sections))
    _remove_others(out, {picture.file for picture in pictures})
    return {"out": str(out / "index.html"), "results": str(out / "results.json")}


def results_page(results: Results, pictures: Sequence[PageSection]) -> str:
    """The HTML text of the report: numbers, ``pictures``, use and protocol."""
    table = results_table(results)
    note = (
        "Mean ± standard deviation over disjoint seed ranges; the best of every column in bold. "
        f'{table.caption} "+ AFS": the first direction is analytic and costs no evaluation. '
        "A dash: this solver cannot spend exactly that many evaluations."
    )
    use = USE.format(model=results.model, nfe=results.nfe[len(results.nfe) // 2])
    protocol = results.protocol | {"protocol hash": results.protocol_hash}
    student = results.rows.get(STUDENT, {})
    tiles = {f"AdaSDE, {nfe} NFE": cell_text(student[nfe]) for nfe in results.nfe if nfe in student}
    sections = [
        PageSection("FID, lower is better", table=table, note=note),
        *pictures,
        PageSection("Use the coefficients", code=use),
        PageSection("How it was measured", facts=protocol),
    ]
    if results.teacher is not None:
        tiles[f"Heun, {results.teacher['nfe']} NFE"] = cell_text(results.teacher)
    return page(f"AdaSDE on {results.model}", LEAD, sections, tiles=tiles)


def _charts(results: Results, data: Path) -> list[Picture]:
    """FID over NFE, coefficients, losses."""
    tables = {nfe: Coefficients.load(data / f"distill/nfe{nfe}/coefficients.json") for nfe in results.nfe}
    losses = {nfe: read_losses(data / f"distill/nfe{nfe}/loss.csv") for nfe in results.nfe}
    return [
        Picture(
            "fid.png",
            "FID over network evaluations",
            "Mean over the seed ranges, bars: standard deviation. Dashed: with the analytic first step.",
            lambda: fid_figure(results),
        ),
        Picture(
            "coefficients.png",
            "What was learned",
            "The coefficients of every step. Dotted: the neutral value, which makes AdaSDE DPM-Solver-2.",
            lambda: coefficients_figure(tables),
        ),
        Picture(
            "losses.png",
            "Distillation",
            "Mean squared error at every node of the student's grid, and of the features; bold: mean.",
            lambda: losses_figure(losses),
        ),
    ]


def _samples(results: Results, nfe: int, data: Path) -> Picture:
    """The first images of every row at ``nfe``, below those of the many-step sampler."""
    folder = data / f"samples/nfe{nfe}"
    files = {entry["label"]: folder / name for name, entry in Manifest.load(folder).entries.items()}
    rows = []
    if results.teacher is not None:
        floor = load_images(data / "reference/floor.safetensors")[:COLUMNS]
        rows.append((f"Heun, {results.teacher['nfe']} NFE", floor))
    for label in results.labels:
        if nfe in results.rows[label] and label in files:
            rows.append(
                (f"{label}\nFID {cell_text(results.rows[label][nfe])}", load_images(files[label])[:COLUMNS])
            )
    title = f"{nfe} evaluations per image; every column is one seed"
    return Picture(
        f"samples-nfe{nfe}.png",
        f"Samples at {nfe} NFE",
        "Every column starts from the same noise"
        + ("; the top row shows where many small steps end." if results.teacher else "."),
        lambda: samples_figure(rows, title=title),
    )


def read_losses(path: Path) -> dict[str, np.ndarray]:
    """The columns of ``loss.csv``; DataError where it is missing or damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            head, *rows = csv.reader(stream)
        table = np.array([[float(cell) for cell in row] for row in rows])
        columns = dict(zip(head, table.T, strict=True))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Run the stage distill again.") from error
    if "iteration" not in columns or len(columns) < 2:
        raise DataError(f"{path} holds no losses. Run the stage distill again.")
    return columns


def _remove_others(out: Path, keep: set[str]) -> None:
    """Pictures of budgets that are no longer asked for."""
    for path in out.glob("samples-nfe*.png"):
        if path.name not in keep:
            path.unlink()
