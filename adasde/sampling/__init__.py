"""Sampling, the first half of the method: schedules, noise, coefficients, solvers, and the sampling loop."""

from adasde.sampling.coefficients import Coefficients, neutral
from adasde.sampling.integrate import sample, solve
from adasde.sampling.noise import SeededNoise, latents
from adasde.sampling.schedules import SCHEDULES, schedule
from adasde.sampling.solvers import SOLVERS, Solver, make_solver, register, sampler_of, steps_for_nfe
from adasde.sampling.wrappers import AnalyticFirstStep, Counting

__all__ = [
    "SCHEDULES", "SOLVERS", "AnalyticFirstStep", "Coefficients", "Counting", "SeededNoise", "Solver",
    "latents", "make_solver", "neutral", "register", "sample", "sampler_of", "schedule", "solve",
    "steps_for_nfe",
]  # fmt: skip
