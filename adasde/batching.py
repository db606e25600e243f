"""Long work over seeds, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

Seeds = TypeVar("Seeds", bound=Sequence[int])


def chunks(seeds: Seeds, size: int) -> Iterator[Seeds]:
    """``seeds`` in consecutive pieces of ``size``, the last one shorter."""
    return (cast(Seeds, seeds[start : start + size]) for start in range(0, len(seeds), size))


def in_chunks(
    seeds: range,
    size: int,
    compute: Callable[[range], Tensor],
    *,
    advance: Callable[[int], None] = lambda count: None,
    dim: int = 0,
) -> Tensor:
    """Concatenate ``compute(piece)`` over pieces of ``size`` seeds; ``advance(n)`` is told after each."""
    pieces = []
    for piece in chunks(seeds, size):
        pieces.append(compute(piece))
        advance(len(piece))
    return torch.cat(pieces, dim=dim)
