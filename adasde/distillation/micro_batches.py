"""The gradient of a batch, piece by piece: in less memory, and shared by several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from adasde.distillation.losses import Batch, Errors, Losses, Walked
from adasde.distillation.student import Student
from adasde.errors import ParamsError
from adasde.types import Denoiser
from adasde.utils.batching import attempt, halved
from adasde.utils.distributed import ALONE, Group

Bind = Callable[[Sequence[int]], Denoiser]


class MicroBatch(NamedTuple):
    """MicroBatch ``number`` of a batch: its ``share`` of the samples, and where in the batch they are."""

    number: int
    share: float
    rows: slice
    batch: Batch


class Part(NamedTuple):
    """What a piece adds to the gradient (flat) and to the errors of its batch, on the CPU."""

    gradient: Tensor
    errors: Errors


@dataclass(frozen=True)
class MicroBatches:
    """Errors and gradients of batches in pieces of ``size`` (0: in one; None: the settings' ``micro_batch``).

    A process of ``group`` takes every so many-th piece. Sums are taken over pieces in their order, so that
    the result depends on their size (by rounding) and not on the number of processes. Memory is that of one
    piece's walk. Only the energy distance couples samples: where it has weight, a process with more than
    one piece walks them twice, first without a graph for the features of all of the batch.

    Raises:
        ParamsError: there are fewer pieces than processes.
    """

    losses: Losses
    group: Group = ALONE
    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is None:
            object.__setattr__(self, "size", self.losses.settings.micro_batch)
        batch, size, world = self.losses.settings.batch, self.losses.settings.micro_batch, self.group.world
        if (count := -(-batch // (size or batch))) < world:
            remedy = f"Set micro_batch to {batch // world}" if batch >= world else f"Start {batch} processes"
            raise ParamsError(
                f"{world} processes share the pieces of a batch, and distill.batch = {batch} with "
                f"distill.micro_batch = {size} has {count}. {remedy} or less: the coefficients depend on "
                "micro_batch by rounding, and not on the number of processes."
            )

    def backward(self, bind: Bind, batch: Batch, table: Student, *, paired: float = 1.0) -> Errors:
        """The errors of ``batch``, detached; its gradient is in the parameters of ``table`` then.

        ``paired``: see ``Losses.total``.
        """
        pieces = pieces_of(batch, self.size or 0)
        mine = self.group.share(pieces)
        kept: dict[int, Walked] = {}
        seen = self._features(bind, mine, table, kept) if len(pieces) > 1 else None
        made = {}
        for piece in mine:
            walked = kept.pop(piece.number, None) or self._walk(bind, piece, table)
            made[piece.number] = self._part(walked, piece, table, seen, paired)
        parts = list(self.group.gather(made).values())
        _set_gradients(table, torch.stack([part.gradient for part in parts]).sum(0))
        return _summed([part.errors for part in parts])

    def within_memory(
        self, bind: Bind, batch: Batch, table: Student, *, paired: float = 1.0
    ) -> tuple[MicroBatches, Errors]:
        """``backward`` in pieces halved until the device has memory for one, and pieces of that size.

        Processes that share a batch are not alone in this: there the error ends them all.

        Raises:
            ParamsError: there is no memory for one sample.
        """
        backward = partial(MicroBatches.backward, bind=bind, batch=batch, table=table, paired=paired)
        if self.group.world > 1:
            return self, backward(self)
        pieces = self
        while (errors := attempt(backward, pieces)) is None:
            pieces = replace(pieces, size=halved(pieces.size or self.losses.settings.batch))
        return pieces, errors

    def _walk(self, bind: Bind, piece: MicroBatch, table: Student) -> Walked:
        return self.losses.walk(bind(piece.batch.seeds), piece.batch, table())

    def _features(
        self, bind: Bind, mine: list[MicroBatch], table: Student, kept: dict[int, Walked]
    ) -> Tensor | None:
        """Features of the whole batch, where they have weight; a process keeps the walk of its only piece."""
        if self.losses.reference is None:
            return None
        found: dict[int, Tensor] = {}
        for piece in mine:
            with torch.set_grad_enabled(len(mine) == 1):
                walked = self._walk(bind, piece, table)
            if len(mine) == 1:
                kept[piece.number] = walked
            assert walked.seen is not None  # because there is a reference
            found[piece.number] = walked.seen.detach().cpu()
        return torch.cat(list(self.group.gather(found).values()))

    def _part(
        self, walked: Walked, piece: MicroBatch, table: Student, seen: Tensor | None, paired: float
    ) -> Part:
        own = walked.seen
        if seen is not None and own is not None:  # the others' features are constants here
            before, after = seen[: piece.rows.start].to(own), seen[piece.rows.stop :].to(own)
            own = torch.cat([before, own, after])
        nodes = walked.nodes * piece.share
        feature = None if walked.feature is None else walked.feature * piece.share
        errors = Errors(nodes, feature, self.losses.energy(own))
        loss = self.losses.total(errors, table.sigmas(), paired=paired)
        gradients = torch.autograd.grad(loss, list(table.parameters()), materialize_grads=True)
        flat = torch.cat([gradient.flatten().cpu() for gradient in gradients])
        feature, energy = (None if error is None else error.detach().cpu() for error in errors[1:])
        return Part(flat, Errors(nodes.detach().cpu(), feature, energy))


def pieces_of(batch: Batch, size: int) -> list[MicroBatch]:
    """``batch`` in pieces of ``size`` samples, the last one smaller; 0: in one."""
    total = len(batch.seeds)
    rows = [slice(start, min(start + (size or total), total)) for start in range(0, total, size or total)]
    return [MicroBatch(k, (row.stop - row.start) / total, row, batch.of(row)) for k, row in enumerate(rows)]


def _set_gradients(table: Student, flat: Tensor) -> None:
    parameters = list(table.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, gradient in zip(parameters, torch.split(flat, sizes), strict=True):
        parameter.grad = gradient.reshape(parameter.shape)


def _summed(parts: Sequence[Errors]) -> Errors:
    """Those of the batch: paired errors add up, and the energy distance is everywhere that of all."""
    nodes = torch.stack([errors.nodes for errors in parts]).sum(0)
    features = [errors.feature for errors in parts if errors.feature is not None]
    return Errors(nodes, torch.stack(features).sum(0) if features else None, parts[0].energy)
