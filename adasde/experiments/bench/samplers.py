"""Samplers of the bench: classical solvers, schedules, and recipes of learned samplers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import yaml
from torch import Tensor

from adasde.distillation.config import NODE_BY_NODE, DistillSettings, recipe_from
from adasde.distillation.distill import TAUGHT
from adasde.distillation.recipes import CUSTOM, INEXPRESSIBLE, RECIPES
from adasde.distillation.teacher import Teacher
from adasde.errors import ParamsError, SolverError
from adasde.sampling.coefficients import MULTISTEP, OWN
from adasde.sampling.schedules import SCHEDULES, checked, schedule, unknown
from adasde.sampling.solvers import SOLVERS, make_solver, steps_for_nfe

USUAL_RHO = {"polynomial": 7.0}
"""The rho of a schedule that is named without one; 1 for the others."""

EXPLICIT = "explicit"


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule of any number of steps, or (``nodes``) one explicit row of noise levels."""

    name: str
    rho: float = 1.0
    nodes: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        """``polynomial 7``, ``logsnr``, ``explicit``."""
        return self.name if self.nodes or self.rho == 1 else f"{self.name} {self.rho:g}"

    def sigmas(self, steps: int, *, sigma_min: float, sigma_max: float) -> Tensor | None:
        """Noise levels [steps + 1]; None if there are explicit nodes of another number."""
        if self.nodes:
            return (
                checked(torch.tensor(self.nodes, dtype=torch.float64))
                if len(self.nodes) == steps + 1
                else None
            )
        return schedule(self.name, steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=self.rho)


@dataclass(frozen=True)
class Classical:
    """A classical solver with its options."""

    solver: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """``unipc``, ``unipc order=3 variant=bh1``."""
        return " ".join([self.solver, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def family(self) -> str:
        """``single-step``, ``multistep`` or ``stochastic``."""
        solver = make_solver(self.solver, self.options)
        if solver.stochastic:
            return "stochastic"
        return "single-step" if solver.evaluations > 1 or solver.convergence == 1 else "multistep"

    def steps(self, nfe: int, *, afs: bool) -> int | None:
        """Number of intervals that spend ``nfe`` evaluations exactly, or None."""
        return _steps(self.solver, nfe, afs=afs)


@dataclass(frozen=True)
class Learned:
    """A sampler whose coefficients the bench distils: ``changes`` to the values of a packaged recipe.

    Without a ``recipe`` they are changes to the defaults of ``DistillSettings``.
    """

    name: str
    label: str
    changes: dict[str, Any] = field(default_factory=dict)
    recipe: str = CUSTOM

    family = "learned"

    @property
    def settings(self) -> DistillSettings:
        """Settings of the distillation at 5 evaluations; form, points and loop are those of every budget."""
        return self.at(5)

    def at(self, nfe: int) -> DistillSettings:
        """Settings of the distillation at ``nfe`` evaluations."""
        return recipe_from(self._section("distill", nfe) | self.changes)

    def grid(self, nfe: int) -> ScheduleSpec | None:
        """The recipe's schedule; None where it names none, so that several are tried."""
        named = self._section("schedule", nfe)
        return ScheduleSpec(named["name"], named["rho"]) if named else None

    def teacher(self, nfe: int) -> Teacher | None:
        """The recipe's teacher where the loss needs the states at all nodes; None: the common teacher."""
        settings = self.at(nfe)
        if settings.loop != NODE_BY_NODE and not settings.inner_weight:
            return None
        named = self._section("teacher", nfe)
        return Teacher(**{name: named[name] for name in TAUGHT if name in named})

    def _section(self, name: str, nfe: int) -> dict[str, Any]:
        return RECIPES[self.recipe].at(nfe).get(name, {})

    def steps(self, nfe: int, *, afs: bool) -> int | None:
        """Number of intervals that spend ``nfe`` evaluations exactly, or None."""
        settings = self.at(nfe)
        return _steps(settings.solver, nfe, afs=afs, points=settings.points)


def _steps(solver: str, nfe: int, *, afs: bool, points: int = 1) -> int | None:
    try:
        return steps_for_nfe(solver, nfe, afs=afs, points=points)
    except SolverError:
        return None


GRID_ONLY = {"learn_grid": True, "gamma_max": 0.0, "scale_dir": 0.0, "scale_time": 0.0}
ENERGY = {"energy_weight": 3.0, "paired_final": 0.0}
"""Energy distance in the end: a grid alone is too little to match every sample by."""

MULTISTEP_FORM = {"solver": MULTISTEP, "learn_grid": True, "gamma_max": 0.0}
TRAINED = RECIPES["multistep"].sections["distill"]
PLUG_IN = ("euler", "heun", "dpm2", "ipndm", "dpmpp-2m")

PACKAGED = {
    "paper": "AdaSDE (paper)",
    "single-step": "AdaSDE (retrained)",
    "multistep": "AdaSDE multistep",
    "dyweight": "DyWeight, our training",
    "ld3": "LD3, our training",
    "epd": "EPD, our training",
}
"""Label of every packaged recipe; ``students`` of params.yaml has the same names."""

LEARNED: dict[str, Learned] = {
    entry.name: entry
    for entry in (
        *(Learned(name, label, recipe=name) for name, label in PACKAGED.items()),
        Learned(OWN, "AdaSDE, teacher matching"),
        Learned(f"{OWN}-k2", "AdaSDE, K = 2", {"points": 2}),
        Learned(f"{OWN}-grid", "AdaSDE + grid", {"learn_grid": True}),
        *(Learned(f"plugin-{name}", f"plug-in: {name}", {"solver": name}) for name in PLUG_IN),
        Learned("grid-ipndm", "grid: ipndm", {"solver": "ipndm", **GRID_ONLY, **ENERGY}),
        Learned("plugin-ipndm-grid", "plug-in + grid: ipndm", {"solver": "ipndm", "learn_grid": True}),
        Learned("multistep-matching", "AdaSDE multistep, teacher matching", MULTISTEP_FORM),
        Learned("multistep-noise", "AdaSDE multistep + noise", TRAINED | {"gamma_max": 1.0}),
    )
}
OTHER_NAMES = {"multistep-energy": "multistep"}
"""Former name -> name."""


def words(text: str) -> list[str]:
    """The entries of a comma-separated list; ``none`` and an empty text have none."""
    return [word.strip() for word in text.split(",") if word.strip() not in ("", "none")]


def parse_solver(text: str) -> Classical:
    """``unipc`` or ``unipc:order=3:variant=bh1`` (SolverError: unknown name, option or value)."""
    name, *pairs = text.split(":")
    options = options_of(pairs, text)
    make_solver(name, options)
    return Classical(name, options)


def parse_schedule(text: str) -> ScheduleSpec:
    """``logsnr``, ``polynomial:7`` or explicit nodes ``80/10/1/0.002`` (SolverError: invalid schedule)."""
    name, _, rho = text.partition(":")
    try:
        if "/" in text:
            nodes = tuple(float(node) for node in text.split("/"))
            checked(torch.tensor(nodes, dtype=torch.float64))
            return ScheduleSpec(EXPLICIT, nodes=nodes)
        value = float(rho) if rho else USUAL_RHO.get(name, 1.0)
    except ValueError as error:
        raise SolverError(f"schedule {text!r}: {error}; write polynomial:7 or 80/10/1/0.002.") from error
    if name not in SCHEDULES:
        raise SolverError(unknown("schedule", name, SCHEDULES))
    schedule(name, 1, rho=value)
    return ScheduleSpec(name, value)


def parse_learned(text: str) -> Learned:
    """The learned sampler of that name (ParamsError: unknown, with the nearest; or one that cannot be)."""
    name = OTHER_NAMES.get(text, text)
    if name in INEXPRESSIBLE:
        raise ParamsError(f"there is no learned sampler {name!r}: {INEXPRESSIBLE[name]}")
    if name not in LEARNED:
        raise ParamsError(unknown("learned sampler", name, LEARNED))
    return LEARNED[name]


def with_recipe(entry: Learned, text: str) -> Learned:
    """``entry`` with further settings of its distillation: ``trajectories=4000:batch=32``.

    Raises:
        ParamsError: an unknown setting (names the nearest), or a value that does not go with the others.
    """
    changes = entry.changes | options_of(text.split(":") if text else [], text)
    settings = replace(entry, changes=changes).settings
    return replace(entry, changes={name: getattr(settings, name) for name in changes})


def options_of(pairs: Sequence[str], text: str) -> dict[str, Any]:
    """``["order=3"]`` -> ``{"order": 3}`` (SolverError, quoting ``text``: not a pair)."""
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SolverError(f"{text!r}: write options as name:option=value, for instance ipndm:order=2.")
        options[key] = yaml.safe_load(value)
    return options


def all_classical() -> list[Classical]:
    """Every registered solver, with its default options."""
    return [Classical(name) for name in SOLVERS]
