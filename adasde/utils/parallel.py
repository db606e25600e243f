"""The same work for many pieces: here, in several processes, or on a Dask cluster."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from adasde.errors import AdaSDEError, DataError

PATIENCE = 5.0
"""Seconds that a scheduler may take to answer."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    job: Callable[[Item], Result], pieces: Sequence[Item], *, workers: int = 1, dask: str | None = None
) -> Iterator[tuple[Item, Result]]:
    """``(piece, job(piece))`` for all pieces, as they come.

    ``workers``: processes of one thread each; 1: this one. ``dask``: the address of a scheduler, whose
    workers see the same files. Elsewhere ``job`` and what it returns travel as pickles of our own.

    Raises:
        AdaSDEError: Dask is not installed, or no scheduler answers.
        DataError: a process died.
    """
    if dask:
        yield from in_cluster(connected(dask), job, pieces)
    elif min(workers, len(pieces)) > 1:
        with processes(min(workers, len(pieces)), "the stage") as pool:
            futures = {pool.submit(job, piece): piece for piece in pieces}
            for done in as_completed(futures):
                yield futures[done], done.result()
    else:
        yield from ((piece, job(piece)) for piece in pieces)


def in_cluster(
    client: Any, job: Callable[[Item], Result], pieces: Sequence[Item]
) -> Iterator[tuple[Item, Result]]:
    """The same on the workers of a ``connected`` client, which is closed at the end."""
    from distributed import as_completed as in_any_order

    with client, client.as_current():
        known = {client.submit(job, piece, pure=False): piece for piece in pieces}
        for future in in_any_order(list(known)):
            yield known[future], future.result()


@contextmanager
def processes(workers: int, what: str) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes of one thread each, for ``what`` (in the message).

    Raises:
        DataError: one of them died.
    """
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker of {what} died, probably for lack of memory. Run the same command again with fewer "
            "--workers: it carries on from what is done."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def connected(address: str) -> Any:
    """A client of the Dask scheduler at ``address``, to be used in a ``with`` block.

    Raises:
        AdaSDEError: Dask is not installed, or no scheduler answers there.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise AdaSDEError("--dask needs Dask. Install it with: pip install 'adasde[dask]'.") from error
    try:
        with ThreadPoolExecutor(1) as aside:  # the caller may be in an event loop of its own
            aside.submit(lambda: asyncio.run(_reach(address))).result()
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error) or f"nothing in {PATIENCE:g} seconds"
        raise AdaSDEError(
            f"no Dask scheduler answers at {address} ({reason}). Start one with `dask scheduler` and workers "
            "with `dask worker`, and give the address that it prints, for instance --dask tcp://127.0.0.1:8786."
        ) from error


async def _reach(address: str) -> None:
    """Connect and go.

    A client that is not in an event loop waits for a silent port for ever; one that fails to connect is not
    closed, and can hang the process when it is collected.
    """
    from distributed import Client

    client = Client(address, timeout=PATIENCE, set_as_default=False, asynchronous=True)
    try:
        async with asyncio.timeout(PATIENCE):
            await client
    finally:
        await client.close(timeout=1)


def one_thread() -> None:
    """Let torch compute in one thread."""
    import torch

    torch.set_num_threads(1)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    one_thread()
