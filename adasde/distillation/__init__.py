"""Distillation, the second half of the method: a teacher, a student, losses, and the training loop."""

from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import distill_coefficients, initial_student
from adasde.distillation.losses import Batch, Errors, Losses
from adasde.distillation.micro_batches import MicroBatches
from adasde.distillation.progress import Progress
from adasde.distillation.student import Student
from adasde.distillation.teacher import Teacher
from adasde.distillation.trajectories import Trajectories

__all__ = [
    "Batch", "DistillSettings", "Errors", "Losses", "MicroBatches", "Progress", "Student", "Teacher",
    "Trajectories", "distill_coefficients", "initial_student",
]  # fmt: skip
