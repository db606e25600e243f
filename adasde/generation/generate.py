"""What ``adasde sample --seeds`` does: draw, pack, and lay out for the eye."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adasde.errors import DataError, SolverError
from adasde.generation.conditions import bound, turns
from adasde.generation.drawing import Request, draw_images, draw_seeds, loaded
from adasde.generation.export import GRID, PACKERS, as_comparison, as_grid, packed, unpacked
from adasde.generation.sinks import Place, open_place, other_settings
from adasde.sampling import integrate
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import schedule
from adasde.sampling.solvers import steps_for_nfe
from adasde.storage.resolve import scheme
from adasde.utils.devices import rank_of
from adasde.utils.parallel import executor
from adasde.utils.pixels import to_uint8

ALIASES = {"ddim": "euler"}
COLUMNS = 8
"""Images in a row of a comparison."""

Nodes = tuple[Tensor, bool]


@dataclass(frozen=True)
class Wanted:
    """Everything that a call asks for; see ``adasde sample --help``."""

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
    chosen: tuple[int, ...] | tuple[str, ...] = ()
    force: bool = False


def run(wanted: Wanted) -> dict[str, Any]:
    """Make the images, then the archive and the pictures; returns what was done.

    Raises:
        AdaSDEError: the coefficients, the model or the place cannot be used.
    """
    table = Coefficients.load(wanted.coefficients)
    request = _request(wanted, table)
    grids = {name: _classical_grid(name, table) for name in wanted.compare}
    suffix = Path(wanted.out).suffix
    archive = Path(wanted.out) if suffix in PACKERS else None
    if archive and archive.exists():
        summary = _already(archive, wanted, request)
        return summary | _pictures(wanted, request, table, grids, partial(unpacked, archive))
    out = f"{wanted.out}.parts" if archive else wanted.out
    began = time.perf_counter()
    with executor(dask=wanted.dask) as pool:
        made, found = draw_images(request, out, wanted.seeds, batch=wanted.batch, pool=pool)
    rate = round(made / max(time.perf_counter() - began, 1e-9), 1)
    summary = {"out": wanted.out, "made": made, "found": found, "nfe": table.nfe, "images_per_second": rate}
    if rank_of()[0] != 0:
        return summary
    place = open_place(out)
    _await_others(place, wanted.seeds if archive else wanted.seeds[: GRID * bool(wanted.grid)])
    summary |= _pictures(wanted, request, table, grids, partial(unpacked, place))
    if archive:
        PACKERS[suffix](place, wanted.seeds, archive)
        shutil.rmtree(out)
    return summary


def _request(wanted: Wanted, table: Coefficients) -> Request:
    request = Request.of(table, model=wanted.model, device=wanted.device)
    request = replace(request, chosen=wanted.chosen)
    if wanted.guidance is not None and wanted.guidance != request.guidance and not wanted.force:
        raise SolverError(
            f"these coefficients were distilled for guidance {request.guidance:g}, not {wanted.guidance:g}. "
            "Leave --guidance out, or use --force if you know that they fit."
        )
    if wanted.force:
        request = replace(request, coefficients=replace(table, model={}).to_document())
    return request if wanted.guidance is None else replace(request, guidance=wanted.guidance)


def _await_others(place: Place, seeds: Sequence[int], *, pause: float = 1.0) -> None:
    """Return when the other processes of ``torchrun`` have made their share of ``seeds`` too."""
    missing = set(seeds) if rank_of()[1] > 1 else set()
    while missing := missing - place.finished(missing):
        time.sleep(pause)


def _already(archive: Path, wanted: Wanted, request: Request) -> dict[str, Any]:
    """An archive that is there: it has these images, or it is in the way."""
    before, there = packed(archive)
    about = request.about(request.loaded())
    if before != about:
        raise other_settings(str(archive), before, about)
    if there != set(wanted.seeds):
        raise DataError(f"{archive} is there with {len(there)} other seeds. Choose another --out.")
    return {"out": str(archive), "made": 0, "found": len(there)}


def _pictures(
    wanted: Wanted,
    request: Request,
    table: Coefficients,
    grids: Mapping[str, Nodes],
    read: Callable[[Sequence[int]], list[np.ndarray]],
) -> dict[str, str]:
    """Draw the grid and the comparison that are wanted, of images that ``read`` gives; where they lie."""
    found: dict[str, str] = {}
    if rank_of()[0] != 0:
        return found
    if wanted.grid:
        as_grid(read(wanted.seeds[:GRID]), wanted.grid)
        found["grid"] = str(wanted.grid)
    if grids:
        seeds = wanted.seeds[:COLUMNS]
        rows = [("AdaSDE", draw_seeds(request, seeds))]
        rows += [(name, _classical(name, grid, request, seeds)) for name, grid in grids.items()]
        title = f"{table.nfe} network evaluations, seeds {seeds[0]} to {seeds[-1]}"
        as_comparison(rows, _sheet(wanted.out), title=title)
        found["compare"] = str(_sheet(wanted.out))
    return found


def _sheet(out: str) -> Path:
    """Where the comparison lies: in the folder of the images, beside their archive, here for a bucket's."""
    path = Path(out)
    if scheme(out) is not None:
        return Path(f"{path.stem}-compare.png")
    return path.with_name(f"{path.stem}-compare.png") if path.suffix in PACKERS else path / "compare.png"


def _classical_grid(name: str, table: Coefficients) -> Nodes:
    """(sigmas, AFS) by which a classical solver spends as many evaluations as ``table``, ``time_uniform``.

    Raises:
        SolverError: there is no such solver, or none of its steps can spend so many.
    """
    solver, afs = ALIASES.get(name, name), table.afs
    try:
        steps = steps_for_nfe(solver, table.nfe, afs=afs)
    except SolverError:
        afs = not afs
        steps = steps_for_nfe(solver, table.nfe, afs=afs)
    ends = table.sigmas[[0, -1]].tolist()
    return schedule("time_uniform", steps, sigma_max=ends[0], sigma_min=ends[1], rho=1.0), afs


@torch.no_grad()
def _classical(name: str, grid: Nodes, request: Request, seeds: Sequence[int]) -> Tensor:
    """The same seeds by a classical solver."""
    sigmas, afs = grid
    model = loaded(request.model, request.device)
    start = latents(seeds, model.shape, device=request.device)
    asked = turns(request.chosen, seeds) if request.chosen else None
    denoise = bound(model, seeds, asked, guidance=request.guidance)
    solver = ALIASES.get(name, name)
    images = integrate.solve(denoise, start, sigmas, solver, afs=afs, noise=SeededNoise(seeds))
    return to_uint8(model.images(images)).cpu()
