"""Warm start of distillation: the coefficients to begin with, checked and noted in the provenance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adasde.distillation.student import Student
from adasde.errors import CoefficientsError
from adasde.sampling.coefficients import Coefficients
from adasde.utils.atomic_io import sha256_json

REMEDY = "Name coefficients that fit in distill.start, or leave it at null."


def fitted(start: Coefficients | None, nfe: int) -> Coefficients | None:
    """``start`` for ``nfe`` evaluations, interpolated where its NFE differs.

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
    """Provenance of learned coefficients concerning their ``start``."""
    if start is None:
        return {}
    table = {key: value for key, value in start.to_document().items() if key != "measured"}
    return {"start": {"nfe": start.nfe, "sha256": sha256_json(table)}}


def check_start(start: Coefficients, student: Student, sigmas: Tensor, *, inner: bool) -> None:
    """Raise if ``start`` has another form than ``student``, or other ends than ``sigmas``.

    ``inner``: its inner nodes must equal those of ``sigmas`` too, because the loss compares states there.

    Raises:
        CoefficientsError: names the difference.
    """
    for name, theirs, ours in (
        ("solver", start.solver, student.settings.solver),
        ("solver_options", start.options, student.settings.solver_options),
        ("points", start.points, student.midpoint.shape[1]),
        ("history", start.weights.shape[1], student.weights.shape[1]),
        ("afs", start.afs, student.afs),
        ("steps", start.steps, len(sigmas) - 1),
    ):
        if theirs != ours:
            raise refusal(f"they have {name} = {theirs!r}, and {ours!r} is to be distilled.")
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
