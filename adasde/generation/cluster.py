"""MicroBatches on a Dask cluster; its workers see the same files, or the images go to a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adasde.generation.drawing import Submit, draw_piece
from adasde.utils.parallel import connected, in_cluster


def on_dask(address: str) -> Submit:
    """Run pieces on the workers of the scheduler at ``address``.

    Raises:
        AdaSDEError: Dask is not installed, or no scheduler answers there.
    """
    client = connected(address)

    def submit(arguments: Sequence[tuple[Any, ...]]) -> Iterable[int]:
        return (count for _, count in in_cluster(client, _drawn, arguments))

    return submit


def _drawn(arguments: tuple[Any, ...]) -> int:
    return draw_piece(*arguments)
