"""What several stages share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import adasde
from adasde.files import sha256_file, sha256_json
from adasde.params import Params
from adasde.schedules import schedule
from adasde.types import Model

CODE = ("integrate.py", "noise.py", "schedules.py", "solvers/*.py", "models/*.py")

Summary = dict[str, Any]
"""What a stage did, as JSON values; ``out`` is what it wrote."""


def student_grid(params: Params, nfe: int) -> Tensor:
    """Noise levels [N+1] of the student with ``nfe`` evaluations, float64."""
    grid = params.for_nfe(nfe).schedule
    steps = params.steps(nfe)
    return schedule(grid.name, steps, sigma_min=grid.sigma_min, sigma_max=grid.sigma_max, rho=grid.rho)


def made_with(model: Model, *files: str) -> dict[str, str]:
    """What a computed file depends on besides params: weights, torch's arithmetic, and our own code.

    ``files`` of the package compute it beside ``CODE``; dvc.yaml names them all.
    """
    package = Path(adasde.__file__).parent
    sources = [path for name in (*CODE, *files) for path in sorted(package.glob(name))]
    code = sha256_json([[path.name, sha256_file(path)] for path in sources])
    return {"model": model.name, "sha256": model.sha256, "torch": torch.__version__, "code": code}


def chunks(seeds: range, size: int) -> Iterator[range]:
    """``seeds`` in consecutive pieces of ``size``, the last one shorter."""
    return (seeds[start : start + size] for start in range(0, len(seeds), size))


def in_chunks(
    seeds: range,
    size: int,
    compute: Callable[[range], Tensor],
    *,
    advance: Callable[[int], None] = lambda count: None,
    dim: int = 0,
) -> Tensor:
    """Concatenate ``compute(piece)`` along ``dim`` over pieces of ``size`` seeds."""
    pieces = []
    for piece in chunks(seeds, size):
        pieces.append(compute(piece))
        advance(len(piece))
    return torch.cat(pieces, dim=dim)
