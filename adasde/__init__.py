"""AdaSDE: few-step sampling of frozen diffusion models with a handful of learned numbers per step.

The names below are loaded at their first use (PEP 562), so that the command line answers without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adasde.utils.moved import install
from adasde.utils.version import VERSION

if TYPE_CHECKING:
    from adasde.distillation.config import DistillSettings as DistillSettings
    from adasde.distillation.distill import distill_coefficients as distill_coefficients
    from adasde.distillation.teacher import Teacher as Teacher
    from adasde.integrations import released as released
    from adasde.models.loading import load_model as load_model
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

__version__ = VERSION
_HOME = {
    "Coefficients": "sampling.coefficients",
    "DistillSettings": "distillation.config",
    "SCHEDULES": "sampling.schedules",
    "SOLVERS": "sampling.solvers",
    "SeededNoise": "sampling.noise",
    "Teacher": "distillation.teacher",
    "distill_coefficients": "distillation.distill",
    "latents": "sampling.noise",
    "load_model": "models.loading",
    "neutral": "sampling.coefficients",
    "sample": "sampling.integrate",
    "schedule": "sampling.schedules",
    "solve": "sampling.integrate",
    "steps_for_nfe": "sampling.solvers",
}
__all__ = [*_HOME, "released"]
install()


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
