"""The paper's baseline rows, ``baselines: paper`` in params.yaml.

Source: the code that the paper's baselines come from (zju-pi/diff-sampler, ``diff-solvers-main``: README and
launch.sh): polynomial grids with rho = 7 for DDIM, Heun, DPM-Solver-2 and iPNDM of order 4; logsnr, data
prediction, dynamic thresholding and ``lower_order_final`` for DPM-Solver++(3M) and UniPC-3 (variant bh2). The
paper does not say how the solvers of two evaluations a step meet its odd budgets: AFS is inferred, and so is
the grid of DPM-Solver-2 (docs/evaluation.md).
"""

from __future__ import annotations

from typing import Any

PAPER = "paper"
"""The name of these rows in params.yaml."""

AFS = " + AFS"
"""End of the label of a row with the analytic first step."""

EDM_GRID: dict[str, Any] = {"schedule": "polynomial", "rho": 7.0}
LOG_GRID: dict[str, Any] = {"schedule": "logsnr", "rho": 1.0, "options": {"thresholding": True}}

PAPER_BASELINES: dict[str, dict[str, Any]] = {
    "DDIM": {"solver": "euler", **EDM_GRID},
    f"Heun{AFS}": {"solver": "heun", "afs": True, **EDM_GRID},
    f"DPM-Solver-2{AFS}": {"solver": "dpm2", "afs": True, **EDM_GRID},
    "iPNDM": {"solver": "ipndm", **EDM_GRID, "options": {"order": 4}},
    "DPM-Solver++(3M)": {"solver": "dpmpp-3m", **LOG_GRID},
    "UniPC": {"solver": "unipc-3", **LOG_GRID},
}
"""Rows by the paper's names and whether they take AFS, as values of ``Baseline``."""


def named(value: Any) -> Any:
    """The paper's rows where ``value`` is ``paper``; anything else as it is."""
    return PAPER_BASELINES if value == PAPER else value
