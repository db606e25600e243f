"""Process group of a run by ``torchrun``."""

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
        """The items of all processes in ascending order of their numbers; the same in each process."""
        if self.world == 1:
            return mine
        import torch.distributed as distributed

        parts: list[dict[int, Item]] = [{} for _ in range(self.world)]
        distributed.all_gather_object(parts, mine)
        return dict(sorted((number, item) for part in parts for number, item in part.items()))


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The group of the processes that ``torchrun`` started, or of this one alone.

    It uses gloo on GPUs too, because the processes exchange only small tensors on the CPU.
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
