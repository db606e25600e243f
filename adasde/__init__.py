"""AdaSDE: few-step sampling of frozen diffusion models with a handful of learned numbers per step.

The names below are loaded at their first use (PEP 562), so that the command line answers without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adasde.distillation.distill import DistillSettings as DistillSettings
    from adasde.distillation.distill import distill_coefficients as distill_coefficients
    from adasde.distillation.teacher import Teacher as Teacher
    from adasde.integrations import released
    from adasde.sampling.coefficients import Coefficients as Coefficients
    from adasde.sampling.coefficients import neutral as neutral
    from adasde.sampling.integrate import sample as sample
    from adasde.sampling.integrate import solve as solve
    from adasde.sampling.noise import SeededNoise as SeededNoise
    from adasde.sampling.noise import latents as latents
    from adasde.sampling.schedules import SCHEDULES as SCHEDULES
    from adasde.sampling.schedules import schedule as schedule
    from adasde.sampling.solvers import SOLVERS as SOLVERS
    from adasde.sampling.solvers import steps_for_nfe as steps_for_nfe

__version__ = "0.1.0"
_HOME = {
    "Coefficients": "coefficients",
    "DistillSettings": "distill",
    "SCHEDULES": "schedules",
    "SOLVERS": "solvers",
    "SeededNoise": "noise",
    "Teacher": "teacher",
    "distill_coefficients": "distill",
    "latents": "noise",
    "neutral": "coefficients",
    "sample": "integrate",
    "schedule": "schedules",
    "solve": "integrate",
    "steps_for_nfe": "solvers",
}
__all__ = [*_HOME, "released"]


def __getattr__(name: str) -> Any:
    if name == "released":
        return import_module("adasde.integrations.released")
    if name not in _HOME:
        raise AttributeError(f"module 'adasde' has no attribute {name!r}")
    value = getattr(import_module(f"adasde.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
