"""Files of ``torch.save`` that hold tables: LD3's learned times, and those that no table can express."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from adasde.errors import CheckpointError
from adasde.integrations.released.ld3 import from_times
from adasde.integrations.released.origin import Given, model_of, sigma_range
from adasde.models.safe_pickle.zip_reader import read_torch
from adasde.sampling.coefficients import Coefficients

TIMES = "best_t_steps"
"""Entry of LD3's files: the times of the solver, followed by those that the network is given."""

OTHER_TIME = "the network gets another time than that of its input's scale, which no noise level has"
"""Why learned times beside the state's own are no table, where the network scales its input."""


def is_saved(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of ``torch.save`` (CheckpointError: it cannot be read)."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error


def table_of_saved(path: str | os.PathLike[str], given: Given) -> Coefficients:
    """Coefficients of LD3's learned times with ``given.solver``.

    Raises:
        CheckpointError: it holds something else, or what cannot be expressed as coefficients.
        SolverError: see ``from_times``.
    """
    document: Any = read_torch(Path(path), [])
    entries = document if isinstance(document, dict) else {}
    why = _inexpressible(entries)
    if why is not None:
        raise CheckpointError(f"it cannot be expressed as coefficients, because {why}.")
    both = entries.get(TIMES)
    if not isinstance(both, Tensor) or both.ndim != 1 or len(both) % 2 or len(both) < 4:
        raise CheckpointError(f"it holds no learned times ({TIMES}) of LD3, and no predictor.")
    times, evaluated = both.double().chunk(2)
    latent = bool((times <= 1).all())
    ends = sigma_range({"schedule_type": "discrete"}, given) if latent else None
    table = from_times(times, evaluated, given.solver, options=given.options, ends=ends)
    made = {"released": "best_t_steps", "dataset": given.model or "unknown", "origin": "LD3"}
    return replace(table, model=model_of({}, given), provenance=made)


def _inexpressible(entries: Mapping[Any, Any]) -> str | None:
    """Why the entries of a known method's file are no table; None: they can be one."""
    averaged = entries.get("ema")
    if isinstance(averaged, dict) and "shadow_params" in averaged:
        return f"GS and GAS weigh earlier states besides directions, and {OTHER_TIME}"
    if "dyweight_weights_raw" in entries:
        return f"for a flow matching model (FLUX with DyWeight) {OTHER_TIME}"
    return None
