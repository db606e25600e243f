"""Solvers: each is data plus one step; what it remembers is passed in and out explicitly.

All integrate the probability-flow ODE dx/dsigma = (x - D(x, sigma)) / sigma, or an SDE with the same
marginals, from t to s < t, in EDM's coordinates, where exponential integrators in log-SNR simplify:
alpha = 1, lambda = -log sigma. A solver's ``step`` returns the state at s and the history to hand to the
next step. Noise levels are float64 scalars on the CPU; states keep their dtype, because a 0-dimensional
tensor does not promote them.
"""

from adasde.sampling.solvers.base import History, Interval, Node, Solver, direction, inject
from adasde.sampling.solvers.learned import AdaSDE, Multistep, PlugIn
from adasde.sampling.solvers.multistep import IPNDM, AdamsBashforth, DPMpp, adams_bashforth
from adasde.sampling.solvers.registry import (
    SOLVERS,
    Entry,
    evaluations_of,
    make_solver,
    noiseless,
    sampler_of,
    steps_for_nfe,
)
from adasde.sampling.solvers.singlestep import DPM2, Euler, Heun
from adasde.sampling.solvers.stochastic import EDM, SA, Ancestral, DPMppSDE
from adasde.sampling.solvers.unipc import UniPC

__all__ = [
    "DPM2", "EDM", "IPNDM", "SA", "SOLVERS", "AdaSDE", "AdamsBashforth", "Ancestral", "DPMpp", "DPMppSDE",
    "Entry", "Euler", "Heun", "History", "Interval", "Multistep", "Node", "PlugIn", "Solver", "UniPC",
    "adams_bashforth", "direction", "evaluations_of", "inject", "make_solver", "noiseless", "sampler_of",
    "steps_for_nfe",
]  # fmt: skip
