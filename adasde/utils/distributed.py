"""Several processes that work on one batch, as ``torchrun`` starts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from adasde.utils.devices import rank_of

Item = TypeVar("Item")


@dataclass(frozen=True)
class Group:
    """This process is number ``rank`` of ``world``."""

    rank: int = 0
    world: int = 1

    def share(self, items: list[Item]) -> list[Item]:
        """This process's items: every ``world``-th."""
        return items[self.rank :: self.world]

    def gather(self, mine: dict[int, Item]) -> dict[int, Item]:
        """What all processes have, by ascending numbers; the same in each of them."""
        if self.world == 1:
            return mine
        import torch.distributed as distributed

        parts: list[dict[int, Item]] = [{} for _ in range(self.world)]
        distributed.all_gather_object(parts, mine)
        return dict(sorted((number, item) for part in parts for number, item in part.items()))


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The processes that ``torchrun`` started, or this one alone.

    They exchange small tensors of the CPU only, so that gloo serves GPUs as well.
    """
    rank, world = rank_of()
    if world == 1:
        yield ALONE
        return
    import torch.distributed as distributed

    distributed.init_process_group("gloo")
    try:
        yield Group(rank, world)
    finally:
        distributed.destroy_process_group()
