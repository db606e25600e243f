"""Named recipes of distillation: values of the sections ``schedule``, ``teacher`` and ``distill``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adasde.distillation.config import NODE_BY_NODE
from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP, OWN
from adasde.sampling.schedules import unknown

CUSTOM = "custom"
"""The recipe without values, which a params.yaml has that names none."""

Sections = dict[str, dict[str, Any]]
"""Values of params.yaml's sections ``schedule``, ``teacher`` and ``distill``."""


@dataclass(frozen=True)
class TrainingRecipe:
    """Differences from the defaults of params.yaml.

    Attributes:
        description: one line for lists.
        sections: values at every number of evaluations.
        per_nfe: further values at some; at another number those of the nearest one count.
    """

    description: str
    sections: Sections
    per_nfe: Mapping[int, Sections] = field(default_factory=dict)

    def at(self, nfe: int) -> Sections:
        """Values at ``nfe`` evaluations."""
        if not self.per_nfe:
            return self.sections
        nearest = self.per_nfe[min(self.per_nfe, key=lambda known: (abs(known - nfe), known))]
        return {name: self.sections.get(name, {}) | nearest.get(name, {}) for name in self.sections}


def recipe_named(name: str) -> TrainingRecipe:
    """The recipe ``name`` (ParamsError with the nearest name where there is none)."""
    if name in INEXPRESSIBLE:
        raise ParamsError(f"there is no recipe {name!r}: {INEXPRESSIBLE[name]}")
    if name not in RECIPES:
        raise ParamsError(unknown("recipe", name, RECIPES))
    return RECIPES[name]


def _published(
    inserted: int, gamma_max: float, alpha: float, scale_dir: float, lr: float, batch: int
) -> Sections:
    """Numbers of the published CIFAR-10 predictors that differ between budgets."""
    taught = {
        "gamma_max": gamma_max,
        "feature_weight": alpha,
        "scale_dir": scale_dir,
        "lr": lr,
        "batch": batch,
    }
    return {"teacher": {"inserted": inserted}, "distill": taught}


GRID_END_TO_END: Sections = {
    "schedule": {"name": "time_uniform", "rho": 1.5},
    "teacher": {"solver": "ipndm", "inserted": 1, "substeps": 1, "trajectories": 8000, "shard": 2000},
    "distill": {
        "loop": "end-to-end",
        "learn_grid": True,
        "scale_dir": 0.3,
        "scale_time": 0.5,
        "trajectories": 64_000,
        "batch": 128,
        "lr": 0.05,
        "lr_final": 0.002,
        "inner_weight": 0.0,
        "pixel_weight": 0.3,
        "feature_weight": 1.0,
        "energy_weight": 3.0,
        "paired_final": 0.0,
    },
}
"""Training end to end with a learned grid and the energy distance, whatever the solver."""


BY_NODE: dict[str, Any] = {
    "solver": OWN,
    "loop": NODE_BY_NODE,
    "learn_grid": False,
    "trajectories": 10_000,
    "lr_final": 0.01,
    "inner_weight": 1.0,
    "pixel_weight": 0.0,
    "energy_weight": 0.0,
    "paired_final": 1.0,
    "max_gradient": 0.0,
}
"""The loop of AdaSDE and of EPD, whose code it comes from."""

FEATURES_ALONE: dict[str, Any] = {
    "inner_weight": 0.0,
    "pixel_weight": 0.0,
    "feature_weight": 1.0,
    "energy_weight": 0.0,
    "paired_final": 1.0,
}
"""Squared error of features at the last node, and no other loss."""


def _end_to_end(**distill: Any) -> Sections:
    return GRID_END_TO_END | {"distill": GRID_END_TO_END["distill"] | distill}


def _inserted(by_nfe: Mapping[int, int]) -> dict[int, Sections]:
    """Nodes that the teacher inserts into each interval, by number of evaluations."""
    return {nfe: {"teacher": {"inserted": count}} for nfe, count in by_nfe.items()}


RECIPES: dict[str, TrainingRecipe] = {
    CUSTOM: TrainingRecipe("the values of params.yaml alone", {}),
    "paper": TrainingRecipe(
        "AdaSDE as its authors train it (2510.23285), with their numbers for CIFAR-10",
        {
            "schedule": {"name": "time_uniform", "rho": 1.0},
            "teacher": {
                "solver": "dpm2",
                "substeps": 2,
                "trajectories": 10_000,
                "shard": 2000,
                "classes": "random",
            },
            "distill": {
                **BY_NODE,
                "points": 1,
                "gamma_min": 2e-4,
                "scale_time": 0.2,
            },
        },
        {
            3: _published(inserted=3, gamma_max=0.02, alpha=20.0, scale_dir=0.05, lr=0.2, batch=32),
            5: _published(inserted=3, gamma_max=0.01, alpha=50.0, scale_dir=0.05, lr=0.2, batch=64),
            7: _published(inserted=3, gamma_max=0.01, alpha=20.0, scale_dir=0.1, lr=0.1, batch=32),
            9: _published(inserted=2, gamma_max=0.01, alpha=20.0, scale_dir=0.1, lr=0.1, batch=32),
        },
    ),
    "single-step": TrainingRecipe(
        "the paper's step, trained end to end: learned grid, energy distance",
        _end_to_end(solver=OWN, points=1, gamma_max=0.02),
    ),
    "multistep": TrainingRecipe(
        "learned sums of the newest evaluations, one evaluation a step, trained end to end",
        _end_to_end(solver=MULTISTEP, history=4, gamma_max=0.0),
    ),
    "dyweight": TrainingRecipe(
        "DyWeight (2603.11607) as the multistep form: features of the teacher's images alone",
        {
            "schedule": {"name": "polynomial", "rho": 7.0},
            "teacher": {"solver": "ipndm", "substeps": 1, "trajectories": 10_000, "shard": 2000},
            "distill": {
                "solver": MULTISTEP,
                "history": 3,
                "learn_grid": True,
                "gamma_max": 0.0,
                "trajectories": 10_000,
                "batch": 16,
                "lr": 0.03,
                "lr_final": 3e-4,
                **FEATURES_ALONE,
            },
        },
        _inserted({3: 8, 5: 5, 7: 3, 9: 2}),
    ),
    "ld3": TrainingRecipe(
        "LD3 (2405.15506): the grid of UniPC alone is learned, from features of the teacher's images",
        {
            "schedule": {"name": "logsnr", "rho": 1.0},
            "teacher": {"solver": "unipc", "substeps": 1, "trajectories": 8000, "shard": 2000},
            "distill": {
                "solver": "unipc",
                "solver_options": {"order": 3, "variant": "bh1"},
                "learn_grid": True,
                "gamma_max": 0.0,
                "scale_dir": 0.0,
                "scale_time": 0.0,
                **FEATURES_ALONE,
            },
        },
        _inserted({3: 4, 5: 2, 7: 2, 9: 1}),
    ),
    "epd": TrainingRecipe(
        "EPD (2507.14797) with two parallel points: the paper's loop without noise",
        {
            "schedule": {"name": "time_uniform", "rho": 1.0},
            "teacher": {
                **{"solver": "dpm2", "inserted": 3, "substeps": 2},
                **{"trajectories": 10_000, "shard": 2000, "classes": "random"},
            },
            "distill": {
                **BY_NODE,
                "points": 2,
                "gamma_max": 0.0,
                "scale_dir": 0.05,
                "scale_time": 0.05,
                "feature_weight": 10.0,
                "batch": 128,
                "lr": 0.2,
            },
        },
    ),
}
"""Recipes by name, as ``students`` of params.yaml and ``recipe`` of ``distill_coefficients`` name them."""

_EARLIER_STATES = (
    "GS and GAS (2510.17699) weigh earlier states besides directions, which no form of coefficients does. "
    "The nearest is 'multistep', see docs/bench.md."
)
INEXPRESSIBLE = {"gs": _EARLIER_STATES, "gas": _EARLIER_STATES}
"""Published methods that look like recipes, and why they are none."""
