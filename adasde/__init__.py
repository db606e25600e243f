"""AdaSDE: few-step sampling of frozen diffusion models with a handful of learned numbers per step."""

from adasde import released
from adasde.coefficients import Coefficients, neutral
from adasde.distill import DistillSettings, distill_coefficients
from adasde.integrate import integrate, sample, solve
from adasde.noise import SeededNoise, latents
from adasde.schedules import SCHEDULES, schedule
from adasde.solvers import SOLVERS, steps_for_nfe
from adasde.teacher import Teacher

__all__ = [
    "SCHEDULES",
    "SOLVERS",
    "Coefficients",
    "DistillSettings",
    "SeededNoise",
    "Teacher",
    "distill_coefficients",
    "integrate",
    "latents",
    "neutral",
    "released",
    "sample",
    "schedule",
    "solve",
    "steps_for_nfe",
]
__version__ = "0.1.0"
