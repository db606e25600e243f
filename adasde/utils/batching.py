"""Long work over seeds, piece by piece, as large as the device has memory for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from adasde.errors import ParamsError

Seeds = TypeVar("Seeds", bound=Sequence[int])
Given = TypeVar("Given")
Result = TypeVar("Result")


def chunks(seeds: Seeds, size: int) -> Iterator[Seeds]:
    """``seeds`` in consecutive pieces of ``size``, the last one shorter."""
    return (cast(Seeds, seeds[start : start + size]) for start in range(0, len(seeds), size))


def in_chunks(
    seeds: Seeds,
    size: int,
    compute: Callable[[Seeds], Tensor],
    *,
    advance: Callable[[int], None] = lambda count: None,
    dim: int = 0,
) -> Tensor:
    """Concatenate ``compute(piece)`` over pieces of ``size`` seeds; ``advance(n)`` is told after each.

    Where the device has no memory for a piece, this one and those after it are halved, with a warning:
    ``compute`` must not mind to be asked again.

    Raises:
        ParamsError: there is no memory for one sample.
    """
    pieces: list[Tensor] = []
    done = 0
    while done < len(seeds):
        piece = cast(Seeds, seeds[done : done + size])
        made = attempt(compute, piece)
        if made is None:
            size = halved(len(piece))
            continue
        pieces.append(made)
        done += len(piece)
        advance(len(piece))
    return torch.cat(pieces, dim=dim)


def attempt(work: Callable[[Given], Result], given: Given) -> Result | None:
    """``work(given)``, or None where the device has no memory for it."""
    try:
        return work(given)
    except torch.OutOfMemoryError:
        pass  # what the work held is free only after this line, with the error that refers to it
    return None


def halved(count: int) -> int:
    """Half of ``count``, for which there was no memory, with a warning.

    Raises:
        ParamsError: there is no half of 1.
    """
    if count <= 1:
        raise ParamsError(
            "the device has no memory for a single sample. Free what else is on it, choose another by "
            "ADASDE_DEVICE, or set network.dtype to bfloat16 in params.yaml."
        )
    warnings.warn(
        f"the device has no memory for {count} samples together; going on with {count // 2}. Set the batch "
        "to that to save the attempt (results differ by rounding).",
        stacklevel=3,
    )
    return count // 2
