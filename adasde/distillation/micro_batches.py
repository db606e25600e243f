"""The gradient of a batch by micro-batches: in less memory, and shared by a process group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from adasde.distillation.config import DistillSettings
from adasde.distillation.losses import Batch, Errors, Losses, Rollout
from adasde.distillation.student import Student
from adasde.errors import ParamsError
from adasde.types import Denoiser
from adasde.utils.batching import attempt, halved
from adasde.utils.distributed import ALONE, Group

Bind = Callable[[Sequence[int]], Denoiser]
"""``bind(seeds)``: the denoiser of a conditional model for the batch of these seeds."""


class MicroBatch(NamedTuple):
    """Samples ``rows`` of a batch, which are ``share`` of it."""

    number: int
    share: float
    rows: slice
    batch: Batch


class Contribution(NamedTuple):
    """A micro-batch's part of the gradient (flat) and of the loss terms of its batch, on the CPU."""

    gradient: Tensor
    errors: Errors


@dataclass(frozen=True)
class MicroBatches:
    """Gradients of batches in micro-batches of ``size`` (0: one; None: the settings' ``micro_batch``).

    Each process of ``group`` takes every ``group.world``-th micro-batch. Sums are taken in the order of
    micro-batches, so that the result depends on their size (by rounding) and not on the number of processes.
    Memory is that of one micro-batch. Only the energy distance couples samples: where it has weight, a
    process with several micro-batches rolls each out twice, first without a graph for the features of the
    complete batch.

    Raises:
        ParamsError: there are fewer micro-batches than processes.
    """

    losses: Losses
    group: Group = ALONE
    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is None:
            object.__setattr__(self, "size", self.losses.settings.micro_batch)
        check_processes(self.losses.settings, self.group)

    def backward(self, bind: Bind, batch: Batch, student: Student, *, matching: float = 1.0) -> Errors:
        """Loss terms of ``batch``, detached; sets the gradients of ``student``.

        ``matching``: see ``Losses.total``.
        """
        batches = micro_batches_of(batch, self.size or 0)
        own = self.group.share(batches)
        rollouts: dict[int, Rollout] = {}
        features = self._features(bind, own, student, rollouts) if len(batches) > 1 else None
        made = {}
        for part in own:
            rollout = rollouts.pop(part.number, None) or self._rollout(bind, part, student)
            made[part.number] = self._contribution(rollout, part, student, features, matching)
        gathered = list(self.group.gather(made).values())
        set_gradients(student, torch.stack([one.gradient for one in gathered]).sum(0))
        return summed([one.errors for one in gathered])

    def within_memory(
        self, bind: Bind, batch: Batch, student: Student, *, matching: float = 1.0
    ) -> tuple[MicroBatches, Errors]:
        """``backward`` with micro-batches halved until one fits into memory; and micro-batches of that size.

        In a process group a lack of memory is an error.

        Raises:
            ParamsError: there is no memory for one sample.
        """
        backward = partial(MicroBatches.backward, bind=bind, batch=batch, student=student, matching=matching)
        if self.group.world > 1:
            return self, backward(self)
        current = self
        while (errors := attempt(backward, current)) is None:
            current = replace(current, size=halved(current.size or self.losses.settings.batch))
        return current, errors

    def _rollout(self, bind: Bind, part: MicroBatch, student: Student) -> Rollout:
        return self.losses.rollout(bind(part.batch.seeds), part.batch, student())

    def _features(
        self, bind: Bind, own: list[MicroBatch], student: Student, rollouts: dict[int, Rollout]
    ) -> Tensor | None:
        """Features [B, F] of the complete batch for the energy distance; a single rollout is kept."""
        if self.losses.reference is None:
            return None
        found: dict[int, Tensor] = {}
        for part in own:
            with torch.set_grad_enabled(len(own) == 1):
                rollout = self._rollout(bind, part, student)
            if len(own) == 1:
                rollouts[part.number] = rollout
            assert rollout.features is not None  # because there is a reference
            found[part.number] = rollout.features.detach().cpu()
        return torch.cat(list(self.group.gather(found).values()))

    def _contribution(
        self, rollout: Rollout, part: MicroBatch, student: Student, features: Tensor | None, matching: float
    ) -> Contribution:
        own = rollout.features
        if features is not None and own is not None:  # those of other micro-batches are constants here
            before, after = features[: part.rows.start].to(own), features[part.rows.stop :].to(own)
            own = torch.cat([before, own, after])
        feature = None if rollout.feature is None else rollout.feature * part.share
        errors = Errors(rollout.nodes * part.share, feature, self.losses.energy(own))
        loss = self.losses.total(errors, student.sigmas(), matching=matching)
        return contribution_of(loss, errors, student)


def contribution_of(
    loss: Tensor, errors: Errors, student: Student, *, retain_graph: bool = False
) -> Contribution:
    """The gradient of ``loss`` in the parameters of ``student``, and ``errors``, detached."""
    gradients = torch.autograd.grad(
        loss, list(student.parameters()), retain_graph=retain_graph, materialize_grads=True
    )
    flat = torch.cat([gradient.flatten().cpu() for gradient in gradients])
    feature, energy = (None if error is None else error.detach().cpu() for error in errors[1:])
    return Contribution(flat, Errors(errors.nodes.detach().cpu(), feature, energy))


def check_processes(settings: DistillSettings, group: Group) -> None:
    """Raise ParamsError unless every process of ``group`` has a micro-batch."""
    batch, size, world = settings.batch, settings.micro_batch, group.world
    if (count := -(-batch // (size or batch))) < world:
        remedy = f"Set micro_batch to {batch // world}" if batch >= world else f"Start {batch} processes"
        raise ParamsError(
            f"{world} processes share the micro-batches of a batch, and distill.batch = {batch} with "
            f"distill.micro_batch = {size} has {count}. {remedy} or less: the coefficients depend on "
            "micro_batch by rounding, and not on the number of processes."
        )


def micro_batches_of(batch: Batch, size: int) -> list[MicroBatch]:
    """``batch`` in micro-batches of ``size`` samples, the last one smaller; 0: in one."""
    total = len(batch.seeds)
    rows = [slice(start, min(start + (size or total), total)) for start in range(0, total, size or total)]
    return [MicroBatch(k, (row.stop - row.start) / total, row, batch.of(row)) for k, row in enumerate(rows)]


def set_gradients(student: Student, flat: Tensor) -> None:
    """Set the gradients of the student's parameters to the parts of ``flat``."""
    parameters = list(student.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, gradient in zip(parameters, torch.split(flat, sizes), strict=True):
        parameter.grad = gradient.reshape(parameter.shape)


def summed(parts: Sequence[Errors]) -> Errors:
    """Loss terms of the batch: means over samples add up, the energy distance is that of all in each part."""
    nodes = torch.stack([errors.nodes for errors in parts]).sum(0)
    features = [errors.feature for errors in parts if errors.feature is not None]
    return Errors(nodes, torch.stack(features).sum(0) if features else None, parts[0].energy)
