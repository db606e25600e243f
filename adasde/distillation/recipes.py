"""Named recipes of distillation: values of the sections ``schedule``, ``teacher`` and ``distill``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP, OWN
from adasde.sampling.schedules import unknown

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


def _end_to_end(**distill: Any) -> Sections:
    return GRID_END_TO_END | {"distill": GRID_END_TO_END["distill"] | distill}


RECIPES: dict[str, TrainingRecipe] = {
    "custom": TrainingRecipe("the values of params.yaml alone", {}),
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
                "solver": OWN,
                "points": 1,
                "loop": "node-by-node",
                "learn_grid": False,
                "gamma_min": 2e-4,
                "scale_time": 0.2,
                "trajectories": 10_000,
                "lr_final": 0.01,
                "inner_weight": 1.0,
                "pixel_weight": 0.0,
                "energy_weight": 0.0,
                "paired_final": 1.0,
                "max_gradient": 0.0,
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
}
"""Recipes by name, as ``students`` of params.yaml and ``recipe`` of ``distill_coefficients`` name them."""
