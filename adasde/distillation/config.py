"""Settings of the distillation, each defined once: name, type, default, range and help."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field, fields
from typing import Any

from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP, OWN
from adasde.sampling.schedules import unknown
from adasde.sampling.solvers import make_solver

NODE_BY_NODE = "node-by-node"
LOOPS = ("end-to-end", NODE_BY_NODE)
"""Training loops: one optimiser step for each trajectory, or for each node of it, as the authors do."""

BOUNDS = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "greater than"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "less than"),
}
"""Ranges of a setting, by the names that pydantic has for them."""


def setting(default: Any, description: str, **bounds: float) -> Any:
    """A field with its range and its help, from which params.yaml's schema and comments are made."""
    return field(default=default, metadata={"description": description, **bounds})


@dataclass(frozen=True)
class DistillSettings:
    """Settings of the distillation; each default is the value that measured best on the digits model.

    ``solver`` is ``adasde``, ``adasde-multistep`` (see ``solvers.Multistep``), or the classical solver of the
    plug-in form (see ``solvers.PlugIn``).

    Raises:
        ParamsError: a setting is out of its range, or contradicts another.
    """

    solver: str = setting(OWN, "adasde (the paper's step), adasde-multistep, or a classical solver's name")
    solver_options: dict[str, Any] = field(
        default_factory=dict, metadata={"description": "of a classical solver, for instance {order: 3}"}
    )
    history: int = setting(4, "evaluations that a step of adasde-multistep combines", ge=1, le=64)
    points: int = setting(1, "K: evaluations of adasde's step after its first, at all budgets", ge=1, le=16)
    loop: str = setting("end-to-end", "end-to-end, or node-by-node: the paper's, a step after every node")
    learn_grid: bool = setting(False, "learn the inner nodes of the schedule")
    gamma_min: float = setting(0.0, "smallest noise injection where gamma_max is not 0", ge=0, le=100)
    gamma_max: float = setting(0.02, "largest noise injection to learn; 0: none", ge=0, le=100)
    scale_dir: float = setting(0.3, "range of the direction scale lambda: 1 +- scale_dir", ge=0, lt=1)
    scale_time: float = setting(0.5, "range of the time scale mu: 1 +- scale_time", ge=0, lt=1)
    trajectories: int = setting(16_000, "seen in all; the stored ones repeat if there are fewer", ge=1)
    batch: int = setting(128, "trajectories of one optimiser step", ge=1)
    micro_batch: int = setting(0, "trajectories in memory together, below batch; 0: all of batch", ge=0)
    lr: float = setting(0.05, "Adam's learning rate at the start", gt=0, le=10)
    lr_final: float = setting(0.002, "learning rate at the end of a cosine", ge=0, le=10)
    inner_weight: float = setting(0.0, "weight of the squared error at the inner nodes", ge=0)
    pixel_weight: float = setting(0.1, "weight of the squared error at the last node", ge=0)
    feature_weight: float = setting(0.3, "alpha: weight of the squared feature error at the last node", ge=0)
    energy_weight: float = setting(0.0, "weight of the energy distance to real images; 0: none needed", ge=0)
    paired_final: float = setting(1.0, "share left of the three weights above it at the end", ge=0, le=1)
    max_gradient: float = setting(1.0, "norm to which larger gradients are scaled down; 0: not at all", ge=0)
    clip: bool = setting(True, "compare images clipped to [-1, 1] at the last node, as evaluation sees them")
    reference: bool = setting(
        False, "replace gradients that are not finite, as the authors do; false: an error"
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            for name, (holds, words) in BOUNDS.items():
                if name in item.metadata and not holds(value, item.metadata[name]):
                    raise ParamsError(f"{item.name} = {value!r}: it must be {words} {item.metadata[name]}.")
        if self.solver == MULTISTEP and self.solver_options:
            raise ParamsError(f"{MULTISTEP} has no solver_options, got {self.solver_options}.")
        if self.solver != OWN:
            if self.solver != MULTISTEP:
                make_solver(self.solver, self.solver_options)
            if self.points != 1:
                raise ParamsError(f"points = {self.points} belongs to {OWN}; {self.solver} has no points.")
        self._check_loop()
        if self.gamma_min > self.gamma_max > 0:
            raise ParamsError(f"gamma_min = {self.gamma_min:g} is above gamma_max = {self.gamma_max:g}.")
        if self.paired_final < 1 and not self.energy_weight:
            raise ParamsError(
                f"paired_final = {self.paired_final:g} lowers the weights of the squared errors in favour of "
                "the energy distance, which has no weight: set energy_weight above 0, or paired_final to 1."
            )
        if self.learn_grid and self.inner_weight > 0:
            raise ParamsError(
                "learn_grid moves the nodes away from the teacher's, so errors at the inner nodes mean "
                "nothing: set inner_weight to 0."
            )

    def _check_loop(self) -> None:
        if self.loop not in LOOPS:
            raise ParamsError(unknown("training loop", self.loop, LOOPS))
        if self.loop == NODE_BY_NODE and (self.learn_grid or self.energy_weight):
            raise ParamsError(
                f"loop = {NODE_BY_NODE} compares states at the teacher's nodes and has no energy "
                "distance: set learn_grid to false and energy_weight to 0, or loop to end-to-end."
            )
        if self.reference and self.loop != NODE_BY_NODE:
            raise ParamsError(f"reference = true repeats the authors' training: set loop to {NODE_BY_NODE}.")


def cosine(start: float, end: float, progress: float) -> float:
    """Value between ``start`` (progress 0) and ``end`` (progress 1) on a cosine, flat at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def recipe_from(settings: dict[str, Any]) -> DistillSettings:
    """``DistillSettings`` from keyword arguments; an unknown name is a ParamsError with the nearest one."""
    names = [item.name for item in fields(DistillSettings)]
    for name in settings:
        if name not in names:
            raise ParamsError(unknown("setting of the distillation", name, names))
    return DistillSettings(**settings)
