"""Long work over seeds in chunks, as large as the memory of the device allows."""

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
    """Consecutive chunks of ``size`` seeds, the last one shorter."""
    return (cast(Seeds, seeds[start : start + size]) for start in range(0, len(seeds), size))


def in_chunks(
    seeds: Seeds,
    size: int,
    compute: Callable[[Seeds], Tensor],
    *,
    advance: Callable[[int], None] = lambda count: None,
    dim: int = 0,
) -> Tensor:
    """Concatenation of ``compute(chunk)`` over chunks of ``size`` seeds; calls ``advance(n)`` after each.

    If the device has no memory for a chunk, this one and those after it are halved, with a warning:
    ``compute`` may be called again for the same seeds.

    Raises:
        ParamsError: there is no memory for one sample.
    """
    results: list[Tensor] = []
    done = 0
    while done < len(seeds):
        chunk = cast(Seeds, seeds[done : done + size])
        result = attempt(compute, chunk)
        if result is None:
            size = halved(len(chunk))
            continue
        results.append(result)
        done += len(chunk)
        advance(len(chunk))
    return torch.cat(results, dim=dim)


def attempt(work: Callable[[Given], Result], given: Given) -> Result | None:
    """``work(given)``, or None if the device has no memory for it."""
    try:
        return work(given)
    except torch.OutOfMemoryError:
        pass  # the memory is freed only after this line, with the error that refers to it
    return None


def halved(count: int) -> int:
    """Half of ``count``, with a warning that there is no memory for all.

    Raises:
        ParamsError: ``count`` is 1.
    """
    if count <= 1:
        raise ParamsError(
            "the device has no memory for a single sample. Free memory on it, choose another device by "
            "ADASDE_DEVICE, or set network.dtype to bfloat16 in params.yaml."
        )
    warnings.warn(
        f"the device has no memory for {count} samples together; going on with {count // 2}. Set the batch "
        "to that to avoid the failed attempt (results differ by rounding).",
        stacklevel=3,
    )
    return count // 2
