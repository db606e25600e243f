"""The guidance scale that coefficients were distilled for, and the one that a program uses."""

from __future__ import annotations

from adasde.errors import CoefficientsError
from adasde.sampling.coefficients import Coefficients


def check_guidance(table: Coefficients, given: float | None) -> None:
    """Refuse another guidance scale than the coefficients'; up to 1 there is no guidance.

    Where the file or the program (``given`` is None) does not say it, nothing can be compared.

    Raises:
        CoefficientsError: they differ.
    """
    known = table.model.get("guidance")
    if known is not None and given is not None and known != given and max(known, given) > 1:
        raise CoefficientsError(
            f"these coefficients were distilled for guidance scale {known}, not {given}. Use {known}, or "
            "distil again."
        )
