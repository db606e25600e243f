"""Golden data of the authors' samplers: random predictors of every kind, run by their own code.

    python tests/support/golden_released.py adasde FOLDER
    python tests/support/golden_released.py epd FOLDER
    python tests/support/golden_released.py dyweight FOLDER

FOLDER holds a copy of the repository in ``COMMITS`` (read aside: they carry no licence). Each call adds its
cases to tests/data/released_kinds_golden.npz. The predictors are random, none of the published numbers is
kept. For each case NAME: ``NAME_config`` (JSON), ``NAME_raw_PARAMETER``, ``NAME_grid`` (the authors' own,
computed in float32; of flow matching the shares of noise) and ``NAME_states`` [N + 1, B, ...], the first of
them at the first node. ``latents``, ``noise`` [N, B, ...] and the mixture of closed form are shared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

COMMITS = {
    "adasde": ("WLU-wry02/AdaSDE", "d938eb8"),
    "epd": ("BeierZhu/EPD", "88a91f0"),
    "dyweight": ("Westlake-AGI-Lab/DyWeight", "620534e"),
}
GOLDEN = Path(__file__).parents[1] / "data" / "released_kinds_golden.npz"
SHAPE, MOST_STEPS = (1, 2, 3), 6
RANGES = {"cifar10": None, "ms_coco": (0.00085, 0.012), "lsun_bedroom_ldm": (0.0015, 0.0195)}
"""Data set -> ends of the betas of its latent model's training."""

PARALLEL: dict[str, dict[str, Any]] = {
    "two_points": {"num_points": 2, "schedule_type": "time_uniform", "schedule_rho": 1.0, "gamma": 0.3},
    "three_points": {"num_points": 3, "gamma": 0.5, "fcn": True, "scale_dir": 0.4},
    "fcn": {"fcn": True, "scale_dir": 0.3, "schedule_type": "logsnr", "gamma": 0.2, "afs": False},
    "no_direction": {"scale_dir": 0, "gamma": 0.1, "num_points": 2, "fcn": True},
    "no_time": {"scale_time": 0, "scale_dir": 0.995, "gamma": 0, "num_points": 2},
    "latent": {"dataset_name": "ms_coco", "schedule_type": "discrete", "schedule_rho": 1.0, "gamma": 0.01},
    "bent": {"dataset_name": "lsun_bedroom_ldm", "schedule_type": "discrete", "schedule_rho": 2.0},
}
"""Steps with parallel points, AdaSDE's and EPD's: what differs from ``DEFAULTS``."""

DEFAULTS = {
    "dataset_name": "cifar10",
    "num_steps": 5,
    "num_points": 1,
    "schedule_type": "polynomial",
    "schedule_rho": 7.0,
    "afs": True,
    "scale_dir": 0.05,
    "scale_time": 0.2,
    "gamma": 0.02,
    "fcn": False,
}
FLOWS: dict[str, dict[str, Any]] = {
    "flow_shift": {"sigma_min": 0.0029940119760479044, "sigma_max": 1.0},
    "flow_mu": {"sigma_min": 0.001, "sigma_max": 1.0, "flowmatch_mu": 1.15},
}
WEIGHTED: dict[str, dict[str, Any]] = {
    "afs": {"schedule_type": "polynomial", "schedule_rho": 7.0, "afs": True, "max_history_steps": 3},
    "all": {"schedule_type": "time_uniform", "schedule_rho": 1.0, "afs": False, "max_history_steps": None},
    "latent": {"schedule_type": "discrete", "schedule_rho": 1.0, "afs": False, "max_history_steps": 2}
    | {"dataset_name": "ms_coco"},
    "no_times": {"schedule_type": "polynomial", "schedule_rho": 7.0, "afs": True, "max_history_steps": 4}
    | {"enable_t_scale_learning": False},
}


def shared() -> dict[str, Tensor]:
    """The mixture, the latents and the noise of all cases."""
    torch.manual_seed(0)
    return {
        "mixture_means": torch.randn(4, *SHAPE).double(),
        "mixture_weights": torch.tensor([0.1, 0.2, 0.3, 0.4]).double(),
        "mixture_std": torch.tensor(0.3).double(),
        "latents": torch.randn(2, *SHAPE).double(),
        "noise": torch.randn(MOST_STEPS, 2, *SHAPE).double(),
    }


class Network:
    """The exact denoiser, as the authors' networks: noise levels of a latent model from their own code."""

    def __init__(self, dataset: str) -> None:
        from adasde.sampling.analytic import Mixture

        parts = shared()
        self.img_resolution = 0
        self.exact = Mixture(parts["mixture_means"], parts["mixture_weights"], float(parts["mixture_std"]))
        self.sigma_min, self.sigma_max = 0.002, 80.0
        if RANGES[dataset] is not None:
            from models.networks_edm import CFGPrecond

            first, last = RANGES[dataset]
            betas = np.linspace(first**0.5, last**0.5, 1000) ** 2
            latent = CFGPrecond(SimpleNamespace(alphas_cumprod=torch.tensor(np.cumprod(1 - betas))))
            self.sigma, self.sigma_inv = latent.sigma, latent.sigma_inv
            self.sigma_min, self.sigma_max = latent.sigma_min, latent.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        return self.exact(x, torch.as_tensor(sigma).double().flatten()[0])


class Flow(Network):
    """The same as a network of flow matching, with the scheduler of ``diffusers`` that the authors ask."""

    backend = "sd3"

    def __init__(self, config: dict[str, Any]) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler

        super().__init__("cifar10")
        self.mu = config.get("flowmatch_mu")
        self.scheduler = FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=self.mu is not None, base_shift=0.5, max_shift=1.15
        )

    def make_flowmatch_schedule(self, points: int, device: Any = None) -> Tensor:
        """Shares of noise [points]."""
        self.scheduler.set_timesteps(points, **({} if self.mu is None else {"mu": self.mu}))
        return self.scheduler.sigmas[:-1].double()

    def __call__(self, x: Tensor, u: Tensor, **_: Any) -> Tensor:
        share = torch.as_tensor(u).double().flatten()[0]
        if share < 1:
            return self.exact(x / (1 - share), share / (1 - share))
        return (self.exact.means * self.exact.weights.reshape(-1, 1, 1, 1)).sum(0).expand_as(x)


def case(
    modules: SimpleNamespace,
    sampler: Callable[..., Any],
    network: Network,
    config: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """The states of ``sampler`` on its own grid, kept in float64 so that its steps are exact."""
    parts, grids = shared(), []

    def grid(*arguments: Any, **named: Any) -> Tensor:
        grids.append(modules.schedule(*arguments, **named).double())
        return grids[-1]

    modules.solvers.get_schedule = grid
    modules.solvers.init_hook = lambda *_: (None, SimpleNamespace(remove=lambda: None))
    noise = iter(parts["noise"])
    known = {name: config[name] for name in ("num_steps", "schedule_type", "schedule_rho", "afs")}
    ends = {"sigma_min": network.sigma_min, "sigma_max": network.sigma_max}
    with torch.no_grad():
        states = sampler(
            network,
            parts["latents"],
            randn_like=lambda like: next(noise),
            return_inters=True,
            **known,
            **ends,
            **more,
        )
    return {"config": json.dumps({**ends, **config}), "grid": grids[0], "states": states}


def parallel(modules: SimpleNamespace, origin: str) -> dict[str, dict[str, Any]]:
    """The cases of AdaSDE's or EPD's own step."""
    kind, sampler = (
        (modules.networks.adasde_predictor, modules.solvers.adasde_sampler)
        if origin == "adasde"
        else (modules.networks.EPD_predictor, modules.solvers.epd_sampler)
    )
    found = {}
    flows = FLOWS if origin == "epd" else {}
    for name, changes in [*PARALLEL.items(), *flows.items()]:
        torch.manual_seed(len(found))
        flow = {"schedule_type": "flowmatch", "afs": False, "scale_dir": 0, "scale_time": 0, "num_points": 2}
        config = DEFAULTS | (flow if name in flows else {}) | changes
        predictor = kind(**config, sampler_stu=origin, sampler_tea="dpm").double()
        config |= {"gamma_min": predictor.gamma_min} if origin == "adasde" else {}
        network = Flow(config) if name in flows else Network(config["dataset_name"])
        found[name] = case(modules, sampler, network, config, predictor=predictor)
        found[name] |= {f"raw_{key}": value.detach() for key, value in predictor.named_parameters()}
    return found


def weighted(modules: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """The cases of DyWeight."""
    found = {}
    for name, changes in WEIGHTED.items():
        torch.manual_seed(len(found))
        config = {"dataset_name": "cifar10", "num_steps": 6} | changes
        predictor = modules.networks.DyWeight_predictor(**config, t_scale_init_mode="uniform").double()
        with torch.no_grad():
            predictor.hybrid_weights += 0.05 * torch.randn_like(predictor.hybrid_weights)
            weights, times = (None if one is None else one.detach() for one in predictor())
        network = Network(config["dataset_name"])
        more = {"hybrid_weights": weights, "t_scale": times}
        found[name] = case(modules, modules.solvers.dyweight_sampler, network, config, **more)
        found[name] |= {"raw_hybrid_weights": weights} | ({} if times is None else {"raw_t_scale": times})
    return found


def imported(folder: Path) -> SimpleNamespace:
    """The authors' modules."""
    sys.path.insert(0, str(folder))
    import solver_utils
    import solvers
    import training.networks

    modules: dict[str, ModuleType] = {"solvers": solvers, "networks": training.networks}
    return SimpleNamespace(**modules, schedule=solver_utils.get_schedule)


def main(origin: str, folder: Path) -> None:
    """Add the cases of ``origin`` to the golden file."""
    kept: dict[str, Any] = {}
    if GOLDEN.exists():
        with np.load(GOLDEN) as archive:
            kept = {key: archive[key] for key in archive.files if not key.startswith(f"{origin}-")}
    modules = imported(folder)
    made = weighted(modules) if origin == "dyweight" else parallel(modules, origin)
    for name, parts in made.items():
        kept |= {f"{origin}-{name}_{key}": np.asarray(value) for key, value in parts.items()}
    np.savez_compressed(GOLDEN, **(kept | {key: value.numpy() for key, value in shared().items()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
