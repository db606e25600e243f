"""Golden cases of the published samplers, and the states of tables on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from golden_released import GOLDEN
from torch import Tensor

from adasde.integrations.released import from_raw
from adasde.integrations.released.dyweight import from_weights
from adasde.integrations.released.flow import from_flow
from adasde.sampling.analytic import Mixture
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.integrate import integrate
from adasde.sampling.solvers import sampler_of


def loaded() -> dict[str, Any]:
    """The golden file: tensors, and texts."""
    with np.load(GOLDEN) as archive:
        values = {key: archive[key] for key in archive.files}
    return {key: str(one) if one.dtype.kind == "U" else torch.from_numpy(one) for key, one in values.items()}


DATA = loaded()
NAMES = [key.removesuffix("_config") for key in DATA if key.endswith("_config")]


def config_of(name: str) -> dict[str, Any]:
    return json.loads(DATA[f"{name}_config"])


def raw_of(name: str) -> dict[str, Tensor]:
    begin = f"{name}_raw_"
    return {key.removeprefix(begin): value for key, value in DATA.items() if key.startswith(begin)}


def mixture() -> Mixture:
    return Mixture(DATA["mixture_means"], DATA["mixture_weights"], float(DATA["mixture_std"]))


def table_of(name: str, grid: Tensor | None = None) -> Coefficients:
    """The table of a case, by the function of its origin."""
    raw, config = raw_of(name), config_of(name)
    if "hybrid_weights" in raw:
        return from_weights(raw["hybrid_weights"], raw.get("t_scale"), config, grid)
    return from_flow(raw, config, grid) if "flow" in name else from_raw(raw, config, grid)


def states_of(table: Coefficients, noise: Tensor = DATA["noise"]) -> list[Tensor]:
    """States from the shared latents."""
    start, solver = DATA["latents"] * table.sigmas[0], sampler_of(table)
    walk = integrate(mixture(), start, table.sigmas, solver, afs=table.afs, noise=lambda i, _: noise[i])
    return list(walk)


def largest(ours: Sequence[Tensor], theirs: Sequence[Tensor] | Tensor) -> float:
    """Largest relative difference of states."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(ours, theirs, strict=True))
