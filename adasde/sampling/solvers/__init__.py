"""Solvers: each is data plus one step; history is passed in and out explicitly.

All integrate the probability-flow ODE dx/dsigma = (x - D(x, sigma)) / sigma, or an SDE with the same
marginals, from t to s < t, in EDM's coordinates, where exponential integrators in log-SNR simplify:
alpha = 1, lambda = -log sigma. Noise levels are float64 scalars on the CPU; states keep their dtype, because
a 0-dimensional tensor does not promote them. A new solver is one subclass of ``Solver`` with
``@register("name")``.
"""

# ruff: noqa: I001 - solvers are listed in the order of these imports
from adasde.sampling.solvers.base import DataPrediction, History, Interval, Node, Solver, Step, choice, number
from adasde.sampling.solvers.formulas import direction, inject
from adasde.sampling.solvers.registry import SOLVERS, evaluations_of, make_solver, noiseless, register
from adasde.sampling.solvers.registry import steps_for_nfe
from adasde.sampling.solvers.singlestep import DPM2, Euler, Heun
from adasde.sampling.solvers.multistep import IPNDM, AdamsBashforth, DPMpp, adams_bashforth
from adasde.sampling.solvers.unipc import UniPC
from adasde.sampling.solvers.stochastic import SA, Ancestral, DPMppSDE, EDMSampler
from adasde.sampling.solvers.learned import AdaSDE, Multistep, PlugIn, sampler_of

__all__ = [
    "DPM2", "IPNDM", "SA", "SOLVERS", "AdaSDE", "AdamsBashforth", "Ancestral", "DPMpp", "DPMppSDE",
    "DataPrediction", "EDMSampler", "Euler", "Heun", "History", "Interval", "Multistep", "Node", "PlugIn",
    "Solver", "Step", "UniPC", "adams_bashforth", "choice", "direction", "evaluations_of", "inject",
    "make_solver", "noiseless", "number", "register", "sampler_of", "steps_for_nfe",
]  # fmt: skip
