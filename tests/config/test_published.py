"""Which rows of a params.yaml are the paper's, and what it published of them."""

from __future__ import annotations

from typing import Any

import pytest

from adasde.config.params import check_params
from adasde.config.published import published_fid

PAPERS: dict[str, Any] = {"solver": "adasde", "points": 1, "loop": "node-by-node", "gamma_max": 0.01}
VALUES: dict[str, Any] = {
    "model": "cifar10",
    "nfe": [3, 5, 11],
    "distill": PAPERS,
    "baselines": "paper",
}


def test_rows_of_the_paper() -> None:
    found = published_fid(check_params(VALUES))
    assert found["AdaSDE"] == {3: 12.62, 5: 4.18}
    assert found["iPNDM"] == {3: 47.98, 5: 13.59}
    assert set(found) == {
        "AdaSDE",
        "DDIM",
        "DPM-Solver-2 + AFS",
        "iPNDM",
        "UniPC",
    }  # of Heun nothing is published


def test_without_noise_it_is_the_ablation() -> None:
    quiet = PAPERS | {"gamma_max": 0.0, "per_nfe": {5: {"gamma_max": 0.01}}}
    assert published_fid(check_params(VALUES | {"distill": quiet}))["AdaSDE"] == {3: 13.32, 5: 4.18}


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"distill": PAPERS | {"loop": "end-to-end"}}, "AdaSDE"),
        ({"distill": {"solver": "adasde-multistep"}}, "AdaSDE"),
        ({"baselines": {"iPNDM": {"solver": "ipndm", "options": {"order": 3}}}}, "iPNDM"),
        ({"baselines": {"DDIM": {"solver": "euler"}}}, "DDIM"),
        ({"model": "afhqv2"}, "iPNDM"),
        ({"model": "cifar10-cond-vp"}, "iPNDM"),
        ({"model": "digits"}, "AdaSDE"),
    ],
)
def test_other_rows_have_no_published_number(changes: dict[str, Any], absent: str) -> None:
    assert absent not in published_fid(check_params(VALUES | changes))
