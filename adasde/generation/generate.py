"""``adasde sample --seeds``: draw images, pack them into an archive, and lay out grids and comparisons."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from adasde.errors import DataError, SolverError
from adasde.generation.drawing import Request, Solve, draw_images, draw_seeds, sample_by
from adasde.generation.export import GRID, PACKERS, as_comparison, as_grid, packed, unpacked
from adasde.generation.sinks import ImageSink, open_sink, other_settings
from adasde.sampling import integrate
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import steps_for_nfe
from adasde.storage.resolve import scheme
from adasde.utils.devices import rank_of
from adasde.utils.parallel import executor

ALIASES = {"ddim": "euler"}
COLUMNS = 8
"""Images in a row of a comparison."""


@dataclass(frozen=True)
class SampleOptions:
    """Options of ``adasde sample --seeds``; see its ``--help``."""

    coefficients: str
    seeds: list[int]
    out: str
    model: str | None = None
    guidance: float | None = None
    batch: int = 64
    device: str = "cpu"
    grid: Path | None = None
    compare: tuple[str, ...] = ()
    dask: str | None = None
    conditions: tuple[int, ...] | tuple[str, ...] = ()
    force: bool = False

    @property
    def archive(self) -> Path | None:
        """The file to pack the images into, if ``out`` is one."""
        path = Path(self.out)
        return path if scheme(self.out) is None and path.suffix in PACKERS else None

    @property
    def sheet(self) -> Path:
        """The file of the comparison: in the folder of the images, beside their archive, or here."""
        path = Path(self.out)
        if scheme(self.out) is not None:
            return Path(f"{path.stem}-compare.png")
        return path.with_name(f"{path.stem}-compare.png") if self.archive else path / "compare.png"


def run(options: SampleOptions) -> dict[str, Any]:
    """Draw the images that are missing, then the archive and the pictures; returns a summary.

    Raises:
        AdaSDEError: the coefficients, the model or ``out`` cannot be used.
    """
    table = Coefficients.load(options.coefficients)
    request = _request(options, table)
    baselines = {name: _baseline(name, table) for name in options.compare}
    source: ImageSink | Path
    if (archive := options.archive) and archive.exists():
        source, summary = archive, _found(archive, options, request)
    else:
        source, summary = _drawn(options, request, table.nfe)
    if rank_of()[0] == 0:
        summary |= _pictures(options, request, baselines, source)
    return summary


def _request(options: SampleOptions, table: Coefficients) -> Request:
    request = Request.of(table, model=options.model, device=options.device)
    guidance = request.guidance if options.guidance is None else options.guidance
    if guidance != request.guidance and not options.force:
        raise SolverError(
            f"these coefficients were distilled for guidance {request.guidance:g}, not {guidance:g}. "
            "Leave --guidance out, or use --force if you know that they fit."
        )
    document = replace(table, model={}).to_document() if options.force else request.coefficients
    return replace(request, coefficients=document, guidance=guidance, conditions=options.conditions)


def _found(archive: Path, options: SampleOptions, request: Request) -> dict[str, Any]:
    """The summary of an archive that has the requested images (DataError: it has others)."""
    before, seeds = packed(archive)
    about = request.about()
    if before != about:
        raise other_settings(str(archive), before, about)
    if seeds != set(options.seeds):
        raise DataError(f"{archive} is there with {len(seeds)} other seeds. Choose another --out.")
    return {"out": str(archive), "made": 0, "found": len(seeds)}


def _drawn(options: SampleOptions, request: Request, nfe: int) -> tuple[ImageSink | Path, dict[str, Any]]:
    """Draw, and pack if wanted: where the images are, and the summary."""
    archive = options.archive
    out = f"{archive}.parts" if archive else options.out
    began = time.perf_counter()
    with executor(dask=options.dask) as pool:
        made, found = draw_images(request, out, options.seeds, batch=options.batch, pool=pool)
    rate = round(made / max(time.perf_counter() - began, 1e-9), 1)
    summary = {"out": options.out, "made": made, "found": found, "nfe": nfe, "images_per_second": rate}
    sink = open_sink(out)
    if rank_of()[0] != 0:
        return sink, summary
    _await_others(sink, options.seeds if archive else options.seeds[: GRID * bool(options.grid)])
    if archive is None:
        return sink, summary
    PACKERS[archive.suffix](sink, options.seeds, archive)
    shutil.rmtree(out)
    return archive, summary


def _await_others(sink: ImageSink, seeds: Sequence[int], *, pause: float = 1.0) -> None:
    """Wait until the other processes of ``torchrun`` have drawn their share of ``seeds``."""
    missing = set(seeds) if rank_of()[1] > 1 else set()
    while missing := missing - sink.finished(missing):
        time.sleep(pause)


def _pictures(
    options: SampleOptions, request: Request, baselines: Mapping[str, Solve], source: ImageSink | Path
) -> dict[str, str]:
    """Lay out the grid and the comparison that are wanted, of images in ``source``; option -> file."""
    made: dict[str, str] = {}
    if options.grid:
        as_grid(unpacked(source, options.seeds[:GRID]), options.grid)
        made["grid"] = str(options.grid)
    if baselines:
        seeds = options.seeds[:COLUMNS]
        rows = [("AdaSDE", draw_seeds(request, seeds))]
        rows += [(name, sample_by(solve, request, seeds)) for name, solve in baselines.items()]
        title = f"{request.table.nfe} network evaluations, seeds {seeds[0]} to {seeds[-1]}"
        as_comparison(rows, options.sheet, title=title)
        made["compare"] = str(options.sheet)
    return made


def _baseline(name: str, table: Coefficients) -> Solve:
    """A classical solver with as many evaluations as ``table``, on the schedule ``time_uniform``.

    Raises:
        SolverError: there is no such solver, or no number of its steps costs that.
    """
    solver, afs = ALIASES.get(name, name), table.afs
    try:
        steps = steps_for_nfe(solver, table.nfe, afs=afs)
    except SolverError:
        afs = not afs
        steps = steps_for_nfe(solver, table.nfe, afs=afs)
    first, last = table.sigmas[[0, -1]].tolist()
    sigmas = schedule("time_uniform", steps, sigma_max=first, sigma_min=last, rho=1.0)
    return partial(integrate.solve, sigmas=sigmas, solver=solver, afs=afs)
