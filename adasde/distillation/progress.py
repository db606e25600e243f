"""What a training loop reports after an optimiser step, and how it stops where numbers are not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from adasde.distillation.losses import Errors
from adasde.distillation.student import Student
from adasde.errors import CoefficientsError, DivergenceError
from adasde.sampling.coefficients import Coefficients


@dataclass(frozen=True)
class Progress:
    """One optimiser step.

    Attributes:
        iteration, total: number of this step, from 1, and of all steps.
        losses: mean squared error at the nodes 1..N (or the last alone), before the step.
        feature_loss: mean squared error of features at the last node; None where it has no weight.
        energy: energy distance to real samples; None where it has no weight.
        coefficients: after the step.
    """

    iteration: int
    total: int
    losses: tuple[float, ...]
    feature_loss: float | None
    energy: float | None
    coefficients: Coefficients


def clip_gradients(student: Student, errors: Errors, max_gradient: float) -> bool:
    """Clip the gradients to the norm ``max_gradient`` (0: not); whether they and ``errors`` are finite."""
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), max_gradient or math.inf)
    values = [error for error in errors if error is not None]
    return all(bool(value.isfinite().all()) for value in (norm, *values))


ADVICE = "Nothing was written. Lower distill.lr, or look for NaN in the trajectories and the denoiser."


@torch.no_grad()
def coefficients_of(student: Student, iteration: int) -> Coefficients:
    """Present coefficients of ``student``, or a DivergenceError where they are out of all bounds."""
    try:
        return student.forward()
    except CoefficientsError as error:
        raise DivergenceError(f"distillation diverged at iteration {iteration}: {error} {ADVICE}") from error


def diverged(iteration: int, errors: Errors, student: Student) -> DivergenceError:
    """The error for a loss or gradient that is not finite."""
    coefficients = coefficients_of(student, iteration)
    names = ("gamma", "midpoint", "direction_scale", "time_scale")
    numbers = {name: getattr(coefficients, name).tolist() for name in names}
    loss = [*errors.nodes.tolist(), *(float(error) for error in errors[1:] if error is not None)]
    return DivergenceError(
        f"distillation diverged at iteration {iteration}: the loss {loss} or its gradient is not finite, "
        f"with coefficients {numbers}. {ADVICE}"
    )
