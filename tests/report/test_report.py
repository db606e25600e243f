"""The report: numbers, table, pictures and the page."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import adasde, tree
from PIL import Image
from rich.console import Console
from tables import random_table
from tiny import STAGES, write_params

from adasde.errors import DataError
from adasde.report import Results, collect, results_table
from adasde.report.page import PageSection
from adasde.report.plots import (
    coefficients_figure,
    contact_sheet,
    fid_figure,
    losses_figure,
    samples_figure,
    save_figure,
)
from adasde.report.results import cell_text
from adasde.sampling.coefficients import MULTISTEP, neutral
from adasde.sampling.schedules import schedule
from adasde.stages.report import results_page


def row(mean: float, spread: float = 0.01, nfe: int = 3) -> dict[str, Any]:
    fid = {"mean": mean, "spread": spread, "values": [mean - spread, mean, mean + spread]}
    return {"fid": fid, "kid": 0.1, "precision": 0.5, "recall": 0.6, "nfe": nfe}


@pytest.fixture
def results() -> Results:
    return Results(
        model="digits",
        nfe=[3, 4],
        rows={
            "iPNDM": {3: row(0.78), 4: row(0.171, 0.002)},
            "AdaSDE": {3: row(0.123, 0.0047), 4: row(0.2)},
            "Heun + AFS": {3: row(12.345, 1.25)},
        },
        teacher=row(0.075, nfe=100),
        protocol={"images": 1000, "extractor": "digits <&>"},
        protocol_hash="abc",
    )


def test_json_round_trip(results: Results) -> None:
    assert Results.from_json(json.loads(json.dumps(results.to_json()))) == results


def test_the_table_has_adasde_first_and_one_best_a_column(results: Results) -> None:
    rows = results_table(results).rows
    cells = {row.label: [(cell.text, cell.style == "best") for cell in row.cells] for row in rows}
    assert list(cells) == ["AdaSDE", "iPNDM", "Heun + AFS"]
    assert cells["AdaSDE"] == [("0.123 ± 0.005", True), ("0.200 ± 0.010", False)]
    assert cells["iPNDM"] == [("0.780 ± 0.010", False), ("0.171 ± 0.002", True)]
    assert cells["Heun + AFS"] == [("12.3 ± 1.2", False), ("–", False)]


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [(0.0123, 0.0004, "0.012 ± 0.000"), (1.234, 0.1, "1.23 ± 0.10"), (93.36, 2, "93.4 ± 2.0")],
)
def test_three_digits(mean: float, spread: float, text: str) -> None:
    assert cell_text(row(mean, spread)) == text


def test_one_seed_range_has_a_mean_alone(results: Results, tmp_path: Path) -> None:
    alone = row(0.5) | {"fid": {"mean": 0.5, "spread": None, "values": [0.5]}}
    single = replace(results, rows={label: {3: alone, 4: alone} for label in results.rows})
    assert cell_text(alone) == "0.500"
    assert [mean for _, mean, spread in single.series("iPNDM") if spread is None] == [0.5, 0.5]
    save_figure(fid_figure(single), tmp_path / "fid.png")
    assert Results.from_json(json.loads(json.dumps(single.to_json()))) == single


def test_without_a_floor_nothing_speaks_of_it(results: Results) -> None:
    bare = replace(results, teacher=None)
    assert Results.from_json(json.loads(json.dumps(bare.to_json()))) == bare
    page = results_page(bare, [])
    assert "Heun, 100 NFE" in results_page(results, []) and "Heun, 100 NFE" not in page
    assert "The model itself" not in page + results_table(bare).markdown()
    assert "Heun, 100 NFE" not in [line.get_label() for line in fid_figure(bare).axes[0].lines]


def test_published_numbers_stand_below_their_own_cells(results: Results) -> None:
    beside = replace(results, published={"iPNDM": {3: 13.59}})
    (cells,) = (row.cells for row in results_table(beside).rows if row.label == "iPNDM")
    assert [cell.note for cell in cells] == ["published 13.59", ""]
    others = [row for row in results_table(beside).rows if row.label != "iPNDM"]
    assert not any(cell.note for row in others for cell in row.cells)
    console = Console(width=100, file=io.StringIO())
    console.print(results_table(beside))
    assert "0.780±0.010 (13.59)" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "50 000 images" in results_page(beside, []) and "50 000 images" not in results_page(results, [])
    assert Results.from_json(json.loads(json.dumps(beside.to_json()))) == beside


def test_the_rich_table_prints_bold_for_the_best_only(results: Results) -> None:
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True)
    console.print(results_table(results))
    text = console.export_text(styles=True)
    bold = re.findall(r"\x1b\[1;32m([^\x1b]*)\x1b", text)
    assert [part.strip() for part in bold] == ["0.123±0.005", "0.171±0.002"]
    assert "0.075 ± 0.010 with 100 evaluations" in re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", text))


def test_the_page_is_self_contained_and_escaped(results: Results, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    text = results_page(results, [PageSection("Head <1>", note="caption", picture=picture)])
    assert "http" not in text and 'src="data:image/png;base64,' in text
    assert text.count('class="best"') == 2
    assert "digits &lt;&amp;&gt;" in text and "Head &lt;1&gt;" in text
    assert "nfe4/coefficients.json" in text


def test_the_fid_picture_shows_every_solver_on_a_logarithmic_axis(results: Results) -> None:
    figure = fid_figure(results)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[0] == "AdaSDE"
    assert set(labels) == {*results.rows, "Heun, 100 NFE"}


def test_the_coefficient_picture_has_a_line_for_every_table(results: Results) -> None:
    tables = {nfe: neutral(schedule("logsnr", steps, rho=1.0), afs=True) for nfe, steps in ((3, 2), (5, 3))}
    figure = coefficients_figure(tables)
    assert [axes.get_title() for axes in figure.axes] == [
        "noise injection γ",
        "midpoint exponent r",
        "direction scale λ",
        "time scale μ",
    ]
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 3]


def test_the_coefficient_picture_shows_what_earlier_evaluations_weigh() -> None:
    figure = coefficients_figure({3: random_table(MULTISTEP, steps=4)})
    axes = figure.axes[1]
    assert axes.get_title() == "weights of evaluations w"
    assert [len(line.get_xdata()) for line in axes.lines] == [4, 4, 4, 2]  # three evaluations, and zero


def test_the_loss_picture_has_a_panel_for_every_budget() -> None:
    columns = {"iteration": np.arange(1, 41.0), "node_1": np.linspace(2, 1, 40), "features": np.ones(40)}
    figure = losses_figure({3: columns, 5: columns})
    assert len(figure.axes) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["features", "node 1"]
    smooth = figure.axes[0].lines[1]
    assert smooth.get_ydata()[0] == pytest.approx(columns["node_1"][:2].mean())


def test_sheets_keep_pixels_and_colours() -> None:
    grey = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    expected = [[0, 1, 255, 4, 5], [2, 3, 255, 6, 7], [255] * 5, [0, 1, 255, 4, 5], [2, 3, 255, 6, 7]]
    assert contact_sheet([grey, grey]).tolist() == expected
    colour = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    assert contact_sheet([colour]).shape == (4, 14, 3)
    (axes,) = samples_figure([("a", grey), ("b", grey)], title="t").axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_yticks().tolist() == [0.5, 3.5]  # the middles of the rows
    assert axes.images[0].get_interpolation() == "nearest"


def test_the_stage_writes_pictures_that_open_and_a_page_that_holds_them(finished_project: Path) -> None:
    out = finished_project / "report"
    names = ["coefficients.png", "fid.png", "index.html", "losses.png", "results.json", "samples-nfe3.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    inlined = re.findall(r'src="data:image/png;base64,([^"]+)"', (out / "index.html").read_text())
    assert {base64.b64decode(data) for data in inlined} == {path.read_bytes() for path in out.glob("*.png")}
    for path in out.glob("*.png"):
        with Image.open(path) as image:
            assert image.width > 800
            assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 8  # not blank
    results = Results.from_json(json.loads((out / "results.json").read_text()))
    assert results == collect(finished_project / "data/metrics", [3])


def test_the_report_is_the_same_again_and_drops_old_pictures(project: Path) -> None:
    before = tree(project / "report")
    (project / "report/samples-nfe11.png").write_bytes(b"old")
    (project / "report/notes.txt").write_bytes(b"mine")
    assert adasde(STAGES["report"], project).code == 0
    assert tree(project / "report") == before | {"notes.txt": b"mine"}


def test_the_terminal_shows_the_table(project: Path) -> None:
    ended = adasde(STAGES["report"], project)
    assert "AdaSDE" in ended.out and "DDIM (Euler)" in ended.out
    assert ended.out.rstrip().endswith("report: report/index.html (results report/results.json)")


def test_numbers_of_another_protocol_are_not_compared(project: Path, values: dict[str, Any]) -> None:
    metrics = project / "data/metrics/nfe3.json"
    document = json.loads(metrics.read_text())
    metrics.write_text(json.dumps(document | {"protocol_hash": "other"}))
    with pytest.raises(DataError, match=r"nfe3.json was measured under another protocol than .*floor.json"):
        collect(project / "data/metrics", [3])


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_damaged_metrics_are_named(project: Path, text: str) -> None:
    (project / "data/metrics/nfe3.json").write_text(text)
    with pytest.raises(DataError, match=r"nfe3.json is (damaged|no metrics file)"):
        collect(project / "data/metrics", [3])


def test_a_budget_that_was_not_run_is_named(project: Path, values: dict[str, Any]) -> None:
    write_params(project, values | {"nfe": [3, 5]})
    ended = adasde(STAGES["report"], project)
    assert ended.code == 1
    assert "data/metrics/nfe5.json does not exist. Run the stage evaluate" in ended.err
