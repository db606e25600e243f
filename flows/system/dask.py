"""Connections to a Dask cluster, and the executor of one (entry point ``adasde.executors``)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adasde.errors import AdaSDEError

if TYPE_CHECKING:
    from distributed import Client

TIMEOUT = 5.0
"""Seconds that a scheduler may take to answer."""


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """Executor of the workers of the scheduler at ``address``.

    Raises:
        AdaSDEError: as ``connect``, or the connection was lost.
    """
    with connect(address) as client:
        try:
            yield client.get_executor(pure=False)
        except CancelledError as error:
            raise AdaSDEError(
                f"the connection to the Dask scheduler at {address} was lost. Start the cluster again, then "
                "the same command: it resumes where it stopped."
            ) from error


def connect(address: str) -> Client:
    """Client of the Dask scheduler at ``address``, to be used in a ``with`` block.

    Raises:
        AdaSDEError: Dask is not installed, or no scheduler answers there.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise AdaSDEError("--dask needs Dask. Install it with: pip install 'adasde[dask]'.") from error
    try:
        with ThreadPoolExecutor(1) as thread:  # the caller may be in an event loop of its own
            thread.submit(lambda: asyncio.run(_reach(address))).result()
        return Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error) or f"nothing in {TIMEOUT:g} seconds"
        raise AdaSDEError(
            f"no Dask scheduler answers at {address} ({reason}). Start one with `dask scheduler` and workers "
            "with `dask worker`, and give the address that it prints, for instance --dask tcp://127.0.0.1:8786."
        ) from error


async def _reach(address: str) -> None:
    """Connect and disconnect.

    Outside an event loop a client waits for a silent port for ever; one that fails to connect is not
    closed, and can hang the process when it is collected.
    """
    from distributed import Client

    client = Client(address, timeout=TIMEOUT, set_as_default=False, asynchronous=True)
    try:
        async with asyncio.timeout(TIMEOUT):
            await client
    finally:
        await client.close(timeout=1)
