"""The training loop of AdaSDE's authors (2510.23285): one optimiser step after every node.

The student's trajectory is one graph: the loss at a node trains the coefficients of all steps up to it, those
of earlier steps at the values that they had then. Losses are sums over elements, divided by the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adasde.distillation.losses import Batch, Errors, Features, teacher_features
from adasde.distillation.micro_batches import (
    Bind,
    Contribution,
    MicroBatch,
    check_processes,
    contribution_of,
    micro_batches_of,
    set_gradients,
    summed,
)
from adasde.distillation.student import Student
from adasde.errors import ParamsError
from adasde.sampling.integrate import integrate
from adasde.sampling.noise import SeededNoise
from adasde.sampling.solvers import History, Interval, Solver, Step, sampler_of
from adasde.types import Denoiser, Noise
from adasde.utils.distributed import ALONE, Group

LARGEST = 1e5
"""Value of infinite gradients under ``reference``."""


@dataclass(frozen=True)
class Current(Solver):
    """The solver of a student's present coefficients, which may change between two steps."""

    student: Student

    stochastic = True

    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        return sampler_of(self.student()).step(denoise, x, interval, history)


@dataclass(frozen=True)
class NodeByNode:
    """Gradients of the losses at the nodes of a batch, node after node.

    Inner nodes have ``inner_weight`` times the squared error; the last one has ``pixel_weight`` times that
    and ``feature_weight`` (the paper's α) times the mean squared error of features, for every element. The
    graph of a batch stays in memory until its last node; processes of ``group`` share it by micro-batches.

    Attributes:
        noise: for the seeds of a batch; the reference implementation draws from torch's global generator.

    Raises:
        ParamsError: the last node has no loss, or there are fewer micro-batches than processes.
    """

    student: Student
    features: Features | None = None
    noise: Callable[[Sequence[int]], Noise] = SeededNoise
    group: Group = ALONE

    def __post_init__(self) -> None:
        settings = self.student.settings
        check_processes(settings, self.group)
        if not (settings.pixel_weight or (settings.feature_weight and self.features)):
            raise ParamsError(
                "the last node has no loss: distill.pixel_weight is 0, and features have no weight or the "
                "model has no extractor of them. Set distill.pixel_weight to 1."
            )

    def __call__(self, bind: Bind, batch: Batch) -> Iterator[Errors]:
        """Errors at the nodes 1 … N; the caller makes an optimiser step before it asks for the next.

        Before each node's errors the gradients of the student are set to those of its loss.
        """
        parts = self.group.share(micro_batches_of(batch, self.student.settings.micro_batch))
        states = {part.number: self._trajectory(bind, part.batch) for part in parts}
        for node in range(1, len(batch.states)):
            made = {part.number: self._contribution(node, next(states[part.number]), part) for part in parts}
            gathered = list(self.group.gather(made).values())
            set_gradients(self.student, torch.stack([one.gradient for one in gathered]).sum(0))
            yield summed([one.errors for one in gathered])

    def _trajectory(self, bind: Bind, batch: Batch) -> Iterator[Tensor]:
        """States at the nodes 1 … N."""
        student = self.student
        states = integrate(
            bind(batch.seeds),
            batch.states[0],
            student.sigmas(),
            Current(student),
            afs=student.afs,
            noise=self.noise(batch.seeds),
        )
        next(states)
        return states

    def _contribution(self, node: int, state: Tensor, part: MicroBatch) -> Contribution:
        settings, last = self.student.settings, node == len(part.batch.states) - 1
        squared, feature = (state - part.batch.states[node]).square().mean(), None
        loss = (settings.pixel_weight if last else settings.inner_weight) * squared
        if last and self.features is not None and settings.feature_weight:
            feature = (self.features(state) - teacher_features(part.batch, self.features)).square().mean()
            loss = loss + settings.feature_weight * feature
        total = part.share * state[0].numel() * loss
        shared = Errors(part.share * squared[None], None if feature is None else part.share * feature, None)
        return contribution_of(total, shared, self.student, retain_graph=True)


@torch.no_grad()
def replace_invalid(student: Student) -> None:
    """Replace gradients that are not finite by 0 (NaN) and ±1e5, as the reference implementation does."""
    for parameter in student.parameters():
        if parameter.grad is not None:
            parameter.grad.nan_to_num_(0.0, LARGEST, -LARGEST)
