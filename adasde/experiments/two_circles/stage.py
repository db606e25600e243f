"""The analysis as a stage: writes analysis.json, pictures and a page."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from adasde.experiments.two_circles.experiment import PAIRS, measure
from adasde.experiments.two_circles.page import analysis_page
from adasde.experiments.two_circles.pictures import TITLES, clouds_figure, error_figure
from adasde.experiments.two_circles.results import analysis, document
from adasde.experiments.two_circles.settings import Settings
from adasde.report.page import PageSection
from adasde.report.plots import save_figure
from adasde.utils.atomic_io import atomic, write_json, write_text

CAPTION = (
    "Bands: 95 % over the groups (above); simultaneous 95 % of the paired differences (below). Dotted: the "
    "value for as many points of new data."
)
HEADINGS = {
    "total": "Total error: the network's samples against data",
    "gradient": "Gradient error: the network's samples against those of the exact denoiser",
    "discretisation": "Discretisation error: the exact denoiser's samples against data",
}


def analyse(settings: Settings, *, out: Path) -> dict[str, Any]:
    """Write ``out``/{analysis.json, index.html, *.png}; returns their paths and the verdicts in words.

    Raises:
        DataError: ``out`` cannot be written.
        ModuleNotFoundError: SciPy or Matplotlib is missing. Both are raised before anything is computed.
    """
    for needed in ("scipy.optimize", "matplotlib.figure"):
        import_module(needed)
    with atomic(out / ".probe") as probe:
        probe.touch()
    (out / ".probe").unlink()
    found = analysis(measure(settings))
    pictures = []
    for kind in PAIRS:
        save_figure(error_figure(found, kind), out / f"{kind}.png")
        pictures.append(PageSection(HEADINGS[kind], note=CAPTION, picture=out / f"{kind}.png"))
    save_figure(clouds_figure(found.measured), out / "samples.png")
    heading = f"Samples after {found.measured.shown} steps"
    pictures.append(PageSection(heading, picture=out / "samples.png"))
    write_json(out / "analysis.json", document(found))
    write_text(out / "index.html", analysis_page(found, pictures))
    verdicts = [
        {"statement": v.statement, "measure": TITLES[v.measure], "verdict": v.summary} for v in found.verdicts
    ]
    return {"out": str(out / "index.html"), "results": str(out / "analysis.json"), "verdicts": verdicts}
