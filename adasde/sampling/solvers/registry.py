"""Every classical solver by name, and the sampler that a coefficient table stands for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from adasde.errors import SolverError
from adasde.sampling.coefficients import MULTISTEP, OWN, Coefficients
from adasde.sampling.schedules import unknown
from adasde.sampling.solvers.base import Solver
from adasde.sampling.solvers.learned import AdaSDE, Multistep, PlugIn
from adasde.sampling.solvers.multistep import IPNDM, AdamsBashforth, DPMpp
from adasde.sampling.solvers.singlestep import DPM2, Euler, Heun
from adasde.sampling.solvers.stochastic import EDM, SA, Ancestral, DPMppSDE
from adasde.sampling.solvers.unipc import UniPC


@dataclass(frozen=True)
class Entry:
    """One line of the registry: how to make the solver, with the options that its name implies."""

    make: type[Any]
    preset: dict[str, Any]


SOLVERS: dict[str, Entry] = {
    "euler": Entry(Euler, {}),
    "heun": Entry(Heun, {}),
    "dpm2": Entry(DPM2, {}),
    "dpmpp-2m": Entry(DPMpp, {"order": 2, "prediction": "data"}),
    "dpmpp-3m": Entry(DPMpp, {"order": 3, "prediction": "data"}),
    "dpm-2m": Entry(DPMpp, {"order": 2, "prediction": "noise"}),
    "dpm-3m": Entry(DPMpp, {"order": 3, "prediction": "noise"}),
    "ipndm": Entry(IPNDM, {}),
    "ipndm-v": Entry(AdamsBashforth, {"variable": "sigma"}),
    "deis": Entry(AdamsBashforth, {}),
    "unipc": Entry(UniPC, {}),
    "unipc-3": Entry(UniPC, {"order": 3}),
    "edm": Entry(EDM, {}),
    "ancestral": Entry(Ancestral, {}),
    "dpmpp-sde": Entry(DPMppSDE, {}),
    "sa": Entry(SA, {}),
}


def make_solver(name: str, options: dict[str, Any] | None = None) -> Solver:
    """The classical solver of that name with its options.

    Raises:
        SolverError: unknown name or option (says which exist), or a value out of range.
    """
    entry = SOLVERS.get(name)
    if entry is None:
        raise SolverError(unknown("solver", name, SOLVERS))
    allowed = {item.name for item in fields(entry.make)} - set(entry.preset)
    for option in options or {}:
        if option not in allowed:
            raise SolverError(f"solver {name!r}: " + unknown("option", option, allowed))
    solver: Solver = entry.make(**entry.preset, **(options or {}))
    return solver


def noiseless(name: str) -> Solver:
    """The classical solver of that name with its noise, if it has any, turned off."""
    solver = make_solver(name)
    return make_solver(name, getattr(solver, "quiet", {}))


def sampler_of(table: Coefficients) -> Solver:
    """The solver whose coefficients these are: AdaSDE's own step, its multistep form, or a plug-in.

    Raises:
        SolverError: ``table.solver`` or its options do not exist, or do not fit the table's shape.
    """
    if table.solver == OWN:
        return AdaSDE(table)
    if table.solver == MULTISTEP:
        return Multistep(table)
    inner = make_solver(table.solver, table.options)
    return PlugIn(inner, table.gamma, table.direction_scale, table.time_scale)


def evaluations_of(solver: str, *, points: int = 1) -> int:
    """Denoiser calls of one step of a registry name, ``adasde`` (K = ``points``) or ``adasde-multistep``."""
    if solver in (OWN, MULTISTEP):
        return points + 1 if solver == OWN else Multistep.evaluations
    return make_solver(solver).evaluations


def steps_for_nfe(solver: str, nfe: int, *, afs: bool, points: int = 1) -> int:
    """Intervals that spend exactly ``nfe`` evaluations; ``solver``: as for ``evaluations_of``.

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
