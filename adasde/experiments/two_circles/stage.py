"""The analysis as a stage: settings in; analysis.json, pictures and a page out."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from adasde.experiments.two_circles.experiment import PAIRS, measure
from adasde.experiments.two_circles.page import page
from adasde.experiments.two_circles.pictures import TITLES, clouds_figure, error_figure
from adasde.experiments.two_circles.results import analysis, document
from adasde.experiments.two_circles.settings import Settings
from adasde.report.plots import save_figure
from adasde.utils.atomic_io import atomic, write_json, write_text

CAPTION = (
    "Bands: 95 % over the groups (above); simultaneous 95 % of the paired differences (below). Dotted: "
    "what as many points of new data would have."
)
HEADINGS = {
    "total": "Total error: the network's samples against data",
    "gradient": "Gradient error: the network's samples against those of the exact denoiser",
    "discretisation": "Discretisation error: the exact denoiser's samples against data",
}


def analyse(settings: Settings, *, out: Path) -> dict[str, Any]:
    """Write ``out``/{analysis.json, index.html, *.png}; returns where they are and the verdicts in words.

    Raises:
        DataError: ``out`` cannot be written.
        ModuleNotFoundError: SciPy or Matplotlib is missing; like the former, before anything is computed.
    """
    for needed in ("scipy.optimize", "matplotlib.figure"):
        import_module(needed)
    with atomic(out / ".probe") as probe:
        probe.touch()
    (out / ".probe").unlink()
    found = analysis(measure(settings))
    pictures = [(HEADINGS[kind], CAPTION, out / f"{kind}.png", error_figure(found, kind)) for kind in PAIRS]
    heading = f"Samples after {found.measured.shown} steps"
    pictures.append((heading, "", out / "samples.png", clouds_figure(found.measured)))
    for _, _, path, figure in pictures:
        save_figure(figure, path)
    write_json(out / "analysis.json", document(found))
    write_text(out / "index.html", page(found, [picture[:3] for picture in pictures]))
    verdicts = [
        {"statement": v.statement, "measure": TITLES[v.measure], "verdict": v.summary} for v in found.verdicts
    ]
    return {"out": str(out / "index.html"), "results": str(out / "analysis.json"), "verdicts": verdicts}
