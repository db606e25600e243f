"""Images of AdaSDE and of every baseline, all from the same seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.config.params import STUDENT, Budget, Params, row_file
from adasde.config.sections import Baseline, SampleParams
from adasde.errors import CoefficientsError
from adasde.sampling import integrate
from adasde.sampling.coefficients import TABLE, Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.wrappers import Counting
from adasde.stages.common import evaluated_model, made_with
from adasde.types import Denoiser, Model, Summary
from adasde.utils.atomic_io import sha256_json, write_json
from adasde.utils.batching import in_chunks
from adasde.utils.manifest import Manifest
from adasde.utils.pixels import to_uint8
from adasde.utils.progress import Advance, track


@dataclass(frozen=True)
class Row:
    """One solver: ``draw(denoise, latents, seeds)`` gives x0; ``settings`` determine it."""

    label: str
    settings: dict[str, Any]
    draw: Callable[[Denoiser, Tensor, range], Tensor]

    @property
    def file(self) -> str:
        """Name of the row's file."""
        return row_file(self.label)


def sample(
    params: Params,
    nfe: int,
    *,
    checkpoint: Path,
    coefficients: str | Path,
    out: Path,
    force: bool = False,
) -> Summary:
    """Write a file of uint8 images per row into ``out``, and wall times beside it, in ``<out>.timing.json``.

    Existing rows of the same settings, weights and seeds are kept, with their times.
    ``coefficients`` is a path or an address, as ``Coefficients.load`` takes it.

    Raises:
        StoreError: the coefficients are at an address that cannot be reached.
        CoefficientsError: the file is broken, for another NFE, or (without ``force``) another checkpoint.
        DataError: ``out`` cannot be written, or holds other files.
    """
    budget = params.at(nfe)
    model = evaluated_model(params, checkpoint)
    table = Coefficients.load(coefficients)
    table.check_model(model.sha256, force=force)
    if table.nfe != nfe:
        raise CoefficientsError(
            f"{coefficients} spends {table.nfe} evaluations, not {nfe}: name the file for {nfe}."
        )
    rows = [_student(table)]
    rows += [_baseline(label, row, budget) for label, row in budget.params.baselines.items()]
    settings = params.sample
    about = {
        **made_with("sample", params, model),
        "seeds": [settings.first_seed, settings.seeds.stop],
        "batch": settings.batch,
        **chosen_classes(params),
    }
    with track(len(rows) * settings.count, f"sample@{nfe}", "images") as advance:
        made = _fill(out, rows, settings, model=model, about=about, advance=advance)
    return {"out": str(out), "made": made, "reused": len(rows) - made, "timing": str(timing_file(out))}


def chosen_classes(params: Params) -> dict[str, str]:
    """Sampling options that differ from the defaults (part of the fingerprint)."""
    classes = params.sample.classes
    return {} if classes == "balanced" else {"classes": classes}


def timing_file(folder: Path) -> Path:
    """File of wall times, beside the samples folder because they differ from run to run."""
    return folder.with_name(folder.name + ".timing.json")


def _student(table: Coefficients) -> Row:
    def draw(denoise: Denoiser, latent: Tensor, seeds: range) -> Tensor:
        return integrate.sample(denoise, latent, table, SeededNoise(seeds))

    numbers = {name: getattr(table, name).tolist() for name in TABLE}
    return Row(STUDENT, {"solver": table.solver, "options": table.options, "afs": table.afs, **numbers}, draw)


def _baseline(label: str, row: Baseline, budget: Budget) -> Row:
    steps = row.steps(budget.nfe)
    assert steps is not None  # params.at kept the rows that fit
    sigmas = budget.params.schedule.sigmas(steps, name=row.schedule, rho=row.rho)

    def draw(denoise: Denoiser, latent: Tensor, seeds: range) -> Tensor:
        noise = SeededNoise(seeds)
        return integrate.solve(denoise, latent, sigmas, row.solver, afs=row.afs, noise=noise, **row.options)

    settings = row.model_dump(exclude={"per_nfe"}) | {"sigmas": sigmas.tolist()}
    return Row(label, settings, draw)


def _fill(
    out: Path,
    rows: list[Row],
    settings: SampleParams,
    *,
    model: Model,
    about: dict[str, Any],
    advance: Advance,
) -> int:
    """Sample the missing rows; returns how many."""
    wanted = {row.file: sha256_json([about, row.settings]) for row in rows}
    times = _known_times(timing_file(out), {row.label: wanted[row.file] for row in rows})
    usable = {row.file: wanted[row.file] if row.label in times else "its time is not known" for row in rows}
    manifest = Manifest.resume(out, usable, kind="samples", about=about)
    missing = [row for row in rows if row.file not in manifest.entries]
    advance((len(rows) - len(missing)) * settings.count)
    for row in missing:
        images, spent = _draw(row, settings, model=model, advance=advance)
        about_row = {"label": row.label, "nfe": spent["nfe"]}
        manifest.add(row.file, {"images": images}, fingerprint=wanted[row.file], about=about_row)
        times[row.label] = spent | {"fingerprint": wanted[row.file]}
        write_json(timing_file(out), {row.label: times[row.label] for row in rows if row.label in times})
    return len(missing)


def _known_times(path: Path, fingerprints: dict[str, str]) -> dict[str, Any]:
    """Entries of an earlier timing file that are still valid."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        same = {
            label for label, mark in fingerprints.items() if known.get(label, {}).get("fingerprint") == mark
        }
    except (OSError, ValueError, AttributeError):
        return {}
    return {label: known[label] for label in same}


def _draw(
    row: Row, settings: SampleParams, *, model: Model, advance: Advance
) -> tuple[Tensor, dict[str, Any]]:
    """All images of one row, uint8 [n, C, H, W], with the wall time and evaluations they took."""
    nfe = 0
    started = time.perf_counter()

    def draw(seeds: range) -> Tensor:
        nonlocal nfe
        counting = Counting(model.bind(seeds))
        start = latents(seeds, model.shape, device=model.device)
        images = to_uint8(model.images(row.draw(counting, start, seeds))).cpu()
        nfe = counting.nfe
        return images

    images = in_chunks(settings.seeds, settings.batch, draw, advance=advance)
    seconds = round(time.perf_counter() - started, 4)
    return images, {"seconds": seconds, "images": settings.count, "nfe": nfe}
