"""Check of a program's guidance scale against the one that coefficients were distilled for."""

from __future__ import annotations

from adasde.errors import CoefficientsError
from adasde.sampling.coefficients import Coefficients


def check_guidance(table: Coefficients, given: float | None) -> None:
    """Raise if the guidance scale differs from the distilled one (scales <= 1 mean no guidance).

    Nothing is checked where the file lacks a scale or ``given`` is None.

    Raises:
        CoefficientsError: the scales differ.
    """
    known = table.model.get("guidance")
    if known is not None and given is not None and known != given and max(known, given) > 1:
        raise CoefficientsError(
            f"these coefficients were distilled for guidance scale {known}, not {given}. Use {known}, or "
            "distil again."
        )
