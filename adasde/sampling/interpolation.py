"""Coefficients of a budget between or beyond distilled ones, interpolated in log sigma."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

Table = Mapping[str, Tensor]

FREE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "midpoint": (torch.logit, torch.sigmoid),
    "direction_scale": (torch.log, torch.exp),
    "time_scale": (torch.log, torch.exp),
    "weights": (torch.clone, lambda rows: rows / rows.sum(1, keepdim=True)),
}
"""Field -> its map to an unbounded range, and the inverse."""


def interpolated(tables: Mapping[int, Table], nfe: int, steps: int) -> tuple[dict[str, Tensor], list[int]]:
    """Table of ``steps`` steps for ``nfe``, from ``tables`` by their NFE; and the NFE that it comes from."""
    low = max((known for known in tables if known <= nfe), default=min(tables))
    high = min((known for known in tables if known >= nfe), default=max(tables))
    share = (nfe - low) / (high - low) if high != low else 0.0
    first, second = (resampled(tables[budget], steps) for budget in (low, high))
    return blended(first, second, share), sorted({low, high})


def resampled(table: Table, steps: int) -> dict[str, Tensor]:
    """``table`` with another number of steps.

    The grid's log sigma is read at the shares i / ``steps`` of its nodes. Values of a step are read at the
    middle of the new step, between the middles of the old ones. Gamma is read as the rate ln(1 + gamma) per
    unit of log sigma, so that a step half as long injects half of it.
    """
    logs = table["sigmas"].log().numpy()
    old = len(logs) - 1
    new = np.interp(np.arange(steps + 1) / steps, np.arange(old + 1) / old, logs)
    new[0], new[-1] = logs[0], logs[-1]
    middles, places = (nodes[:-1] + nodes[1:] for nodes in (-logs, -new))

    def read(values: Tensor) -> Tensor:
        columns = [np.interp(places, middles, column) for column in values.T.numpy()]
        return torch.from_numpy(np.stack(columns, 1)) if columns else torch.zeros(steps, 0).double()

    out = {name: back(read(free(table[name]))) for name, (free, back) in FREE.items()}
    if not table["midpoint"].numel():
        out["weights"] = _existing(out["weights"])
    rate = table["gamma"].log1p() / torch.from_numpy(-np.diff(logs))
    gamma = (read(rate[:, None])[:, 0] * torch.from_numpy(-np.diff(new))).expm1()
    out["gamma"] = torch.cat([torch.zeros(1).double(), gamma[1:]])
    out["sigmas"] = torch.from_numpy(new).exp()
    out["sigmas"][[0, -1]] = table["sigmas"][[0, -1]]
    return out


def _existing(weights: Tensor) -> Tensor:
    """Weights [N, H] of the multistep form; those of missing evaluations go to the oldest one there is."""
    out = weights.tril()
    for i, row in enumerate(weights[:, 1:].triu().sum(1)[: weights.shape[1]]):
        out[i, i] += row
    return out


def blended(low: Table, high: Table, share: float) -> dict[str, Tensor]:
    """Table at ``share`` (0 .. 1) of the way from ``low`` to ``high``, which have equally many steps."""
    out = {
        name: back(torch.lerp(free(low[name]), free(high[name]), share))
        for name, (free, back) in FREE.items()
    }
    out["gamma"] = torch.lerp(low["gamma"], high["gamma"], share)
    out["sigmas"] = torch.lerp(low["sigmas"].log(), high["sigmas"].log(), share).exp()
    for end in (0, -1):
        out["sigmas"][end] = low["sigmas"][end]
    return out
