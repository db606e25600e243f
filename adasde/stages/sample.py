"""Images of a student, or of every baseline, all from the same seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.config.params import Params, row_file
from adasde.config.sections import Baseline, SampleParams
from adasde.config.students import BASELINES, facts_of
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
    """One solver: ``draw(denoise, latents, seeds)`` gives x0; ``settings`` determine it.

    ``student``: facts about learned coefficients (``facts_of``); None for a baseline.
    """

    label: str
    settings: dict[str, Any]
    draw: Callable[[Denoiser, Tensor, range], Tensor]
    student: dict[str, Any] | None = None

    @property
    def file(self) -> str:
        """Name of the row's file."""
        return row_file(self.label)


def sample(
    params: Params,
    nfe: int,
    *,
    checkpoint: Path,
    coefficients: str | Path | None,
    out: Path,
    timing: Path | None = None,
    force: bool = False,
) -> Summary:
    """Write a file of uint8 images per row into ``out``, and wall times into ``timing`` (None: beside it).

    Existing rows of the same settings, weights and seeds are kept, with their times.
    ``coefficients`` is a path or an address, as ``Coefficients.load`` takes it; None: the baselines. The
    file of a student also has the images of ``sample.validation``.

    Raises:
        StoreError: the coefficients are at an address that cannot be reached.
        CoefficientsError: the file is broken, for another NFE, or (without ``force``) another checkpoint.
        DataError: ``out`` cannot be written, or holds other files.
    """
    model = evaluated_model(params, checkpoint)
    if coefficients is None:
        rows = [_baseline(label, row, params, nfe) for label, row in params.rows(nfe).items()]
    else:
        rows = [_student(_table_for(coefficients, nfe, model=model, force=force))]
    settings, times = params.sample, timing or beside(out)
    about = {
        **made_with("sample", params, model),
        "seeds": [settings.first_seed, settings.seeds.stop],
        **({"validation": settings.validation} if settings.validation and coefficients else {}),
        "batch": settings.batch,
        **chosen_classes(params),
    }
    images = settings.count + (settings.validation if coefficients else 0)  # of a row
    what = rows[0].student["name"] or "student" if rows and rows[0].student else BASELINES
    with track(len(rows) * images, f"sample@{what}-{nfe}", "images") as advance:
        made = _fill(
            out, rows, settings, images=images, timing=times, model=model, about=about, advance=advance
        )
    return {"out": str(out), "made": made, "reused": len(rows) - made, "timing": str(times)}


def chosen_classes(params: Params) -> dict[str, str]:
    """Sampling options that differ from the defaults (part of the fingerprint)."""
    classes = params.sample.classes
    return {} if classes == "balanced" else {"classes": classes}


def beside(folder: Path) -> Path:
    """File of wall times beside a folder of samples: not in it, because they differ from run to run."""
    return folder.with_name(folder.name + ".timing.json")


def _table_for(source: str | Path, nfe: int, *, model: Model, force: bool) -> Coefficients:
    table = Coefficients.load(source)
    table.check_model(model.sha256, force=force)
    if table.nfe != nfe:
        raise CoefficientsError(
            f"{source} spends {table.nfe} evaluations, not {nfe}: name the file for {nfe}."
        )
    return table


def _student(table: Coefficients) -> Row:
    def draw(denoise: Denoiser, latent: Tensor, seeds: range) -> Tensor:
        return integrate.sample(denoise, latent, table, SeededNoise(seeds))

    numbers = {name: getattr(table, name).tolist() for name in TABLE}
    facts = facts_of(table)
    settings = {"solver": table.solver, "options": table.options, "afs": table.afs, **numbers}
    return Row(facts["label"], settings, draw, facts)


def _baseline(label: str, row: Baseline, params: Params, nfe: int) -> Row:
    steps = row.steps(nfe)
    assert steps is not None  # params.rows kept those that fit
    sigmas = params.schedule.at(nfe).sigmas(steps, name=row.schedule, rho=row.rho)

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
    images: int,
    timing: Path,
    model: Model,
    about: dict[str, Any],
    advance: Advance,
) -> int:
    """Sample the missing rows of ``images`` images each; returns how many rows."""
    wanted = {row.file: sha256_json([about, row.settings]) for row in rows}
    times = _known_times(timing, {row.label: wanted[row.file] for row in rows})
    usable = {row.file: wanted[row.file] if row.label in times else "its time is not known" for row in rows}
    manifest = Manifest.resume(out, usable, kind="samples", about=about)
    missing = [row for row in rows if row.file not in manifest.entries]
    advance((len(rows) - len(missing)) * images)
    for row in missing:
        drawn, spent = _draw(row, settings.seeds, settings, model=model, advance=advance)
        about_row = {"label": row.label, "nfe": spent["nfe"]} | (
            {"student": row.student} if row.student else {}
        )
        tensors = {"images": drawn}
        if row.student and settings.validation:
            tensors["validation"], _ = _draw(
                row, settings.validation_seeds, settings, model=model, advance=advance
            )
        manifest.add(row.file, tensors, fingerprint=wanted[row.file], about=about_row)
        times[row.label] = spent | {"fingerprint": wanted[row.file]}
        write_json(timing, {row.label: times[row.label] for row in rows if row.label in times})
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
    row: Row, seeds: range, settings: SampleParams, *, model: Model, advance: Advance
) -> tuple[Tensor, dict[str, Any]]:
    """Images of one row and ``seeds``, uint8 [n, C, H, W], with the wall time and evaluations they took."""
    nfe = 0
    started = time.perf_counter()

    def draw(seeds: range) -> Tensor:
        nonlocal nfe
        counting = Counting(model.bind(seeds))
        start = latents(seeds, model.shape, device=model.device)
        images = to_uint8(model.images(row.draw(counting, start, seeds))).cpu()
        nfe = counting.nfe
        return images

    images = in_chunks(seeds, settings.batch, draw, advance=advance)
    seconds = round(time.perf_counter() - started, 4)
    return images, {"seconds": seconds, "images": len(seeds), "nfe": nfe}
