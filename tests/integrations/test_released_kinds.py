"""Every kind of published step against its authors' own code, with random parameters.

``data/released_kinds_golden.npz``: made by ``support/golden_released.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plain_samplers
import pytest
import torch
from golden_released import COMMITS, GOLDEN
from released_cases import DATA, NAMES, config_of, largest, mixture, raw_of, states_of, table_of

from adasde.errors import SolverError
from adasde.integrations.released import from_raw, released_gamma
from adasde.integrations.released.dyweight import from_weights
from adasde.integrations.released.flow import from_flow
from adasde.integrations.released.grids import flow_times, released_grid
from adasde.sampling.integrate import integrate
from adasde.sampling.solvers import sampler_of

FLOWS = [name for name in NAMES if "flow" in name]
OTHERS = [name for name in NAMES if name not in FLOWS]


def test_there_are_cases_of_all_origins() -> None:
    assert {name.partition("-")[0] for name in NAMES} == set(COMMITS)
    assert {len(raw_of(name)["r_params"][0]) for name in NAMES if name.startswith("adasde")} == {1, 2, 3}


@pytest.mark.parametrize("name", OTHERS)
def test_states_are_those_of_the_authors_code(name: str) -> None:
    theirs, grid = DATA[f"{name}_states"], DATA[f"{name}_grid"]
    assert largest(states_of(table_of(name, grid)), theirs) < 1e-7  # DyWeight divides by sigma + 1e-8
    ours = table_of(name)
    tolerance = (
        1e-3 if config_of(name)["schedule_type"] == "time_uniform" else 1e-5
    )  # the release's last node
    assert largest(states_of(ours), theirs) < tolerance


@pytest.mark.parametrize("name", OTHERS)
def test_the_plain_samplers_of_the_tests_are_the_authors(name: str) -> None:
    config, grid = config_of(name), DATA[f"{name}_grid"]
    more = () if name.startswith("dyweight") else (DATA["noise"],)
    plain = plain_samplers.weighted if name.startswith("dyweight") else plain_samplers.parallel
    states = plain(mixture(), DATA["latents"], grid, config, raw_of(name), *more)
    assert largest(states, DATA[f"{name}_states"]) < 1e-7
    torch.testing.assert_close(plain_samplers.grid(config)[:-1], grid[:-1], rtol=3e-5, atol=0)
    torch.testing.assert_close(plain_samplers.grid(config), released_grid(config), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", FLOWS)
def test_states_of_flow_matching_are_those_of_the_authors_code(name: str) -> None:
    config, theirs = config_of(name), DATA[f"{name}_states"]
    torch.testing.assert_close(
        flow_times(config["num_steps"], config), DATA[f"{name}_grid"], rtol=1e-6, atol=0
    )
    table = table_of(name)
    shares = 1 / (1 + table.sigmas)
    states = [state * share for state, share in zip(states_of(table), shares, strict=True)]
    assert largest(states[:: config["num_points"] + 1], theirs) < 2e-4
    assert table.nfe == (config["num_points"] + 1) * (config["num_steps"] - 1)
    plain = plain_samplers.flow(mixture(), DATA["latents"], DATA[f"{name}_grid"], config, raw_of(name))
    assert largest(plain, theirs) < 1e-7


@pytest.mark.parametrize("name", FLOWS)
def test_a_table_of_flow_matching_survives_float32(name: str) -> None:
    table = table_of(name)
    start = DATA["latents"].float() * table.sigmas[0].float()
    *_, end = integrate(mixture(), start, table.sigmas, sampler_of(table))
    end = end / (1 + table.sigmas[-1])
    assert float((end - DATA[f"{name}_states"][-1]).norm() / end.norm()) < 2e-4


@pytest.mark.parametrize("scale", ["scale_dir", "scale_time"])
def test_scaled_velocities_cannot_be_expressed(scale: str) -> None:
    config = config_of(FLOWS[0]) | {scale: 0.1}
    with pytest.raises(SolverError, match=f"cannot be expressed .* because {scale} would"):
        from_flow(raw_of(FLOWS[0]), config)


def test_weights_that_go_up_cannot_be_expressed() -> None:
    weights = torch.eye(3)
    weights[1, 1] = -0.5
    config = {"num_steps": 4, "schedule_type": "polynomial", "schedule_rho": 7.0, "afs": False}
    with pytest.raises(SolverError, match="cannot be expressed as coefficients, because step 1 goes from"):
        from_weights(weights, None, config | {"sigma_min": 0.002, "sigma_max": 80.0})


def test_gamma_of_several_points_is_weighted() -> None:
    raw, config = raw_of("adasde-three_points"), config_of("adasde-three_points")
    points = released_gamma(raw["gamma_params"], config["gamma_min"], config["gamma"])
    table = from_raw(raw, config)
    torch.testing.assert_close(table.gamma, (table.weights * points).sum(1))
    assert float(table.gamma[0]) == 0 and bool((table.gamma[1:] != points[1:, 0]).all())


def test_gradients_reach_the_raw_parameters() -> None:
    raw = {name: value.clone().requires_grad_() for name, value in raw_of("adasde-two_points").items()}
    table = from_raw(raw, config_of("adasde-two_points"))
    *_, end = states_of(table)
    end.square().sum().backward()
    assert all(value.grad is not None and bool(value.grad[1:].abs().sum() > 0) for value in raw.values())


@pytest.mark.parametrize(
    "change",
    [{"schedule_type": "discrete"}, {"guidance_type": "cfg"}, {"dataset_name": "lsun_bedroom_ldm"}],
)
def test_a_range_that_is_not_edms_must_be_given(change: dict[str, Any]) -> None:
    config = config_of("adasde-two_points") | change
    config = {key: value for key, value in config.items() if not key.startswith("sigma_")}
    with pytest.raises(SolverError, match="give sigma_min and sigma_max, or sigmas"):
        from_raw(raw_of("adasde-two_points"), config)


def test_discrete_times_are_not_rounded() -> None:
    name = "adasde-latent"
    rounded = replace(table_of(name), sigmas=torch.from_numpy(rounded_grid(config_of(name))))
    assert largest(states_of(rounded), DATA[f"{name}_states"]) > 1e-4


def rounded_grid(config: dict[str, Any]) -> np.ndarray:
    levels = np.sqrt(np.expm1(plain_samplers.trained_levels(config["dataset_name"])))
    return levels[np.linspace(999, 0, config["num_steps"]).round().astype(int)]


def test_the_golden_file_is_small() -> None:
    assert Path(GOLDEN).stat().st_size < 100_000
