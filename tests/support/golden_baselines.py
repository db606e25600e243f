"""Golden states of the paper's baselines: the recipe that asked the code they come from.

    python tests/support/golden_baselines.py FOLDER

FOLDER holds ``diff-solvers-main`` of github.com/zju-pi/diff-sampler at ``COMMIT``. Writes
tests/data/baseline_golden.npz: see ``config/test_baselines.py``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from golden_edm_nets import DATA
from torch import Tensor

from adasde.sampling.analytic import Mixture
from adasde.sampling.wrappers import Counting

COMMIT = "68d5ce427f261962b89ce3b0ee8f6b29f0577328"
OUTPUTS = DATA / "baseline_golden.npz"
BUDGETS = (3, 5, 7)
EDM: dict[str, Any] = {"schedule_type": "polynomial", "schedule_rho": 7}
LOG: dict[str, Any] = {"schedule_type": "logsnr", "schedule_rho": 7, "max_order": 3}
ROWS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "ddim": ("euler_sampler", False, EDM),
    "heun": ("heun_sampler", True, EDM),
    "dpm2": ("dpm_2_sampler", True, EDM),
    "ipndm": ("ipndm_sampler", False, EDM | {"max_order": 4}),
    "dpmpp-3m": ("dpm_pp_sampler", False, LOG),
    "unipc-3": ("unipc_sampler", False, LOG | {"variant": "bh2"}),
}
"""The sampler, AFS and the settings of launch.sh; data prediction and lower_order_final are its defaults."""


def mixture() -> dict[str, Any]:
    """Means (beyond [-1, 1], so that thresholding acts), weights, standard deviation and latents."""
    generator = np.random.default_rng(5)
    means, latents = (generator.normal(size=(count, 3, 4, 4)) for count in (4, 2))
    return {
        "mixture_means": means,
        "mixture_weights": np.array([0.1, 0.2, 0.3, 0.4]),
        "mixture_std": np.array(0.3),
        "latents": latents,
    }


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    torch.set_default_dtype(torch.float64)
    import solver_utils  # type: ignore[import-not-found]
    import solvers  # type: ignore[import-not-found]

    found = mixture()
    means, weights, latents = (
        torch.from_numpy(found[name]) for name in ("mixture_means", "mixture_weights", "latents")
    )
    exact = Mixture(means, weights, 0.3)

    def states(name: str, points: int, afs: bool) -> tuple[Tensor, int]:
        counting = Counting(lambda x, sigma: exact(x, sigma.reshape(())))

        def network(x: Tensor, sigma: Tensor, *_: Any, **__: Any) -> Tensor:
            return counting(x, sigma)

        sampler, settings = getattr(solvers, ROWS[name][0]), ROWS[name][2]
        made = sampler(network, latents, num_steps=points, afs=afs, return_inters=True, **settings)
        return made[-1 if name == "unipc-3" else 0 :], counting.nfe

    for name, (_, afs, settings) in ROWS.items():
        for nfe in BUDGETS:
            points = (nfe + afs) // (1 + afs) + 1
            made, counted = states(name, points, afs)
            assert counted == nfe
            grid = {key: settings[key] for key in EDM}
            sigmas = solver_utils.get_schedule(points, 0.002, 80.0, **grid)
            found |= {f"{name}_{nfe}_sigmas": sigmas.double().numpy(), f"{name}_{nfe}_states": made.numpy()}
    for name in ("dpmpp-3m", "unipc-3"):
        found[f"{name}_afs_states"] = states(name, 7, True)[0].numpy()
    np.savez_compressed(OUTPUTS, **found)


if __name__ == "__main__":
    main(sys.argv[1])
