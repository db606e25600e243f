"""Distillation that begins with a table: which tables fit, and what is noted about them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adasde.distillation.student import Student
from adasde.errors import CoefficientsError
from adasde.sampling.coefficients import Coefficients
from adasde.utils.atomic_io import sha256_json

REMEDY = "Name a table that fits in distill.start, or leave it at null."


def fitted(start: Coefficients | None, nfe: int) -> Coefficients | None:
    """``start`` for ``nfe`` evaluations: as it is, or interpolated.

    Raises:
        CoefficientsError: no number of its steps spends ``nfe``.
    """
    if start is None or start.nfe == nfe:
        return start
    try:
        return start.interpolate(nfe)
    except CoefficientsError as error:
        raise refusal(str(error)) from error


def origin(start: Coefficients | None) -> dict[str, Any]:
    """What the provenance of a learned table says about its ``start``."""
    if start is None:
        return {}
    table = {key: value for key, value in start.to_document().items() if key != "measured"}
    return {"start": {"nfe": start.nfe, "sha256": sha256_json(table)}}


def check_start(start: Coefficients, wanted: Student, sigmas: Tensor, *, inner: bool) -> None:
    """Refuse a table that is not of the form of ``wanted``, or not between the ends of ``sigmas``.

    ``inner``: its inner nodes must be those of ``sigmas`` too, because the teacher's states there count.

    Raises:
        CoefficientsError: what differs.
    """
    theirs = {
        "solver": start.solver,
        "solver_options": start.options,
        "points": start.points,
        "history": start.weights.shape[1],
        "afs": start.afs,
        "steps": start.steps,
    }
    ours = {
        "solver": wanted.solver,
        "solver_options": wanted.options,
        "points": wanted.midpoint.shape[1],
        "history": wanted.weights.shape[1],
        "afs": wanted.afs,
        "steps": len(sigmas) - 1,
    }
    for name, value in ours.items():
        if theirs[name] != value:
            raise refusal(f"they have {name} = {theirs[name]!r}, and {value!r} is to be distilled.")
    here = sigmas.to(start.sigmas)
    if not torch.allclose(start.sigmas[[0, -1]], here[[0, -1]], rtol=1e-6, atol=0):
        first, last = (f"{float(start.sigmas[end]):g}" for end in (0, -1))
        ends = [f"{float(here[end]):g}" for end in (0, -1)]
        raise refusal(f"they go from sigma {first} to {last}, and the schedule from {ends[0]} to {ends[1]}.")
    if inner and not torch.allclose(start.sigmas, here, rtol=1e-6, atol=0):
        raise refusal(
            "their inner nodes are not those of the schedule, where distill.inner_weight compares the states "
            "with the teacher's. Set distill.inner_weight to 0."
        )


def refusal(why: str) -> CoefficientsError:
    """The error for coefficients that distillation cannot start from."""
    return CoefficientsError(f"distillation cannot start from these coefficients: {why} {REMEDY}")
