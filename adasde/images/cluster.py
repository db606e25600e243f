"""Pieces on a Dask cluster; its workers see the same files, or the images go to a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adasde.errors import AdaSDEError
from adasde.images.draw import Submit, draw_piece

PATIENCE = "10s"


def on_dask(address: str) -> Submit:
    """Run pieces on the workers of the scheduler at ``address``.

    Raises:
        AdaSDEError: Dask is not installed, or no scheduler answers there.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise AdaSDEError("--dask needs Dask. Install it with: pip install 'adasde[dask]'.") from error
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise AdaSDEError(
            f"no Dask scheduler answers at {address} ({error}). Start one with `dask scheduler` and workers "
            "with `dask worker ADDRESS`, and name its address, for instance tcp://127.0.0.1:8786."
        ) from error

    def submit(arguments: Sequence[tuple[Any, ...]]) -> Iterable[int]:
        from distributed import as_completed

        with client, client.as_current():
            futures = [client.submit(draw_piece, *each, pure=False) for each in arguments]
            for future in as_completed(futures):
                yield future.result()

    return submit
