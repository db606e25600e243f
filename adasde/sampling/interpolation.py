"""Coefficients for a budget that was not distilled, from those beside it: interpolation in log sigma."""

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
"""Field -> to where it is not bounded, and back."""


def resampled(table: Table, steps: int) -> dict[str, Tensor]:
    """``table`` of another number of steps.

    The grid's log sigma is read at the shares i / ``steps`` of its nodes. What belongs to a step is read at
    the middle of the new step, between the middles of the old ones. gamma is read as the rate
    ln(1 + gamma) for one unit of log sigma, so that a step half as long brings half of it.
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
        out["weights"] = _within_reach(out["weights"])
    rate = table["gamma"].log1p() / torch.from_numpy(-np.diff(logs))
    gamma = (read(rate[:, None])[:, 0] * torch.from_numpy(-np.diff(new))).expm1()
    out["gamma"] = torch.cat([torch.zeros(1).double(), gamma[1:]])
    out["sigmas"] = torch.from_numpy(new).exp()
    out["sigmas"][[0, -1]] = table["sigmas"][[0, -1]]
    return out


def _within_reach(weights: Tensor) -> Tensor:
    """Weights [N, H] of a multistep form in which the oldest evaluation there is bears those that are not."""
    out = weights.tril()
    for i, row in enumerate(weights[:, 1:].triu().sum(1)[: weights.shape[1]]):
        out[i, i] += row
    return out


def blended(low: Table, high: Table, share: float) -> dict[str, Tensor]:
    """The table that lies ``share`` (0 .. 1) of the way from ``low`` to ``high``, of equally many steps."""
    out = {
        name: back(torch.lerp(free(low[name]), free(high[name]), share))
        for name, (free, back) in FREE.items()
    }
    out["gamma"] = torch.lerp(low["gamma"], high["gamma"], share)
    out["sigmas"] = torch.lerp(low["sigmas"].log(), high["sigmas"].log(), share).exp()
    for end in (0, -1):
        out["sigmas"][end] = low["sigmas"][end]
    return out
