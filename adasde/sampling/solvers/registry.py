"""Classical solvers by name: a class joins with ``@register("name")``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

from adasde.errors import SolverError
from adasde.sampling.coefficients import MULTISTEP, OWN
from adasde.sampling.schedules import unknown
from adasde.sampling.solvers.base import Solver

SolverClass = TypeVar("SolverClass", bound=type[Solver])


class Registered(NamedTuple):
    """A solver's class and the options that its name fixes."""

    solver: type[Solver]
    preset: dict[str, Any]


SOLVERS: dict[str, Registered] = {}
"""Every classical solver by name, in the order of registration."""


def register(name: str, **preset: Any) -> Callable[[SolverClass], SolverClass]:
    """Class decorator that adds a solver to ``SOLVERS``, with options that ``name`` fixes."""

    def add(solver: SolverClass) -> SolverClass:
        SOLVERS[name] = Registered(solver, preset)
        return solver

    return add


def make_solver(name: str, options: dict[str, Any] | None = None) -> Solver:
    """The classical solver of that name with its options.

    Raises:
        SolverError: unknown name or option (lists those that exist), or a value out of range.
    """
    if name not in SOLVERS:
        raise SolverError(unknown("solver", name, SOLVERS))
    solver, preset = SOLVERS[name]
    allowed = {item.name for item in fields(solver)} - set(preset)
    for option in options or {}:
        if option not in allowed:
            raise SolverError(f"solver {name!r}: " + unknown("option", option, allowed))
    return solver(**preset, **(options or {}))


def noiseless(name: str) -> Solver:
    """The classical solver of that name with its noise, if it has any, turned off."""
    option = make_solver(name).noise_option
    return make_solver(name, {option: 0.0} if option else {})


def evaluations_of(solver: str, *, points: int = 1) -> int:
    """Denoiser calls of one step of a registry name, ``adasde`` (K = ``points``) or ``adasde-multistep``."""
    if solver in (OWN, MULTISTEP):
        return points + 1 if solver == OWN else 1
    return make_solver(solver).evaluations


def steps_for_nfe(solver: str, nfe: int, *, afs: bool, points: int = 1) -> int:
    """Number of steps that spend exactly ``nfe`` evaluations; ``solver``: as for ``evaluations_of``.

    Raises:
        SolverError: no number of steps gives this NFE; names the nearest that are possible.
    """
    evaluations = evaluations_of(solver, points=points)
    steps, rest = divmod(nfe + int(afs), evaluations)
    if rest or steps < 1:
        near = [n * evaluations - int(afs) for n in (max(steps, 1), max(steps, 1) + 1)]
        raise SolverError(
            f"{solver} spends {evaluations} evaluations a step{', the first one less under AFS' * afs}: "
            f"nfe={nfe} is impossible; the nearest are {near[0]} and {near[1]}."
        )
    return steps
