"""What docs/paper.md says about the noise of the published predictors, from their raw parameters."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from adasde.experiments.two_circles.theorems import injected_scale, log10_merging
from adasde.integrations.released import released_gamma

ROOT = Path(__file__).parents[2]
PREDICTORS: dict[str, Any] = json.loads((ROOT / "tests/data/released_predictors.json").read_text())
NOISY = {name: found for name, found in PREDICTORS.items() if found["config"]["gamma"]}


def gammas(name: str) -> list[float]:
    """γ of the steps with noise."""
    config, raw = PREDICTORS[name]["config"], PREDICTORS[name]["raw_parameters"]["gamma_params"]
    column = torch.tensor(raw, dtype=torch.float64)[:, 0]
    return released_gamma(column, config["gamma_min"], config["gamma"]).tolist()[1:]


def every_gamma() -> list[float]:
    return [gamma for name in NOISY for gamma in gammas(name)]


def test_the_table_of_the_page_is_computed() -> None:
    page = (ROOT / "docs/paper.md").read_text()
    for name, found in NOISY.items():
        config = found["config"]
        numbers = ", ".join(f"{gamma * 1e4:.3f}" for gamma in gammas(name))
        settings = f"{config['gamma']:g} | {config['gamma_min'] * 1e4:g}"
        assert f"| {int(name[:5])} | {name.split('-')[3]} | {settings} | {numbers} |" in page, name
    assert len(NOISY) == 4


def test_the_published_noise_is_near_its_floor() -> None:
    found = every_gamma()
    assert (f"{min(found):.1e}", f"{max(found):.1e}") == ("1.7e-04", "4.3e-04")
    shares = [
        (gamma - c["gamma_min"]) / (c["gamma"] - c["gamma_min"])
        for name, c in ((name, found["config"]) for name, found in NOISY.items())
        for gamma in gammas(name)
    ]
    assert max(shares) < 0.022


def test_nine_of_ten_are_round_numbers() -> None:
    """Multiples of 1e-5, to the rounding of a raw parameter in float32."""
    found = every_gamma()
    assert len(found) == 10
    assert sum(gamma == pytest.approx(round(gamma, 5), rel=2e-7) for gamma in found) == 9
    raw = [found["raw_parameters"]["gamma_params"] for found in NOISY.values()]
    assert raw[1][1] == raw[2][1]
    assert all(a[0] == b[0] and a[0][0] < -28 for a, b in pairwise(raw[1:]))


def test_the_worst_case_contraction_of_the_published_noise_is_nothing() -> None:
    """In 3072 dimensions a state's norm is about sqrt(3072) t, at most B / 2."""
    largest, half = max(every_gamma()), 3072**0.5
    assert log10_merging(2 * half, injected_scale(1.0, 1 + largest)) < -767_000
