"""One function over many items: in this process, in several processes, or on a cluster."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import entry_points
from multiprocessing import get_context
from typing import TypeVar

from adasde.errors import AdaSDEError, DataError

EXECUTORS = "adasde.executors"
"""Entry points, by kind of cluster, of functions ``address -> context manager of an Executor``."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    job: Callable[[Item], Result], items: Sequence[Item], pool: Executor | None
) -> Iterator[tuple[Item, Result]]:
    """``(item, job(item))`` for all items, as they complete; without ``pool`` one after the other, here."""
    if pool is None:
        yield from ((item, job(item)) for item in items)
        return
    futures = {pool.submit(job, item): item for item in items}
    for future in as_completed(list(futures)):
        yield futures.pop(future), future.result()


@contextmanager
def executor(workers: int = 1, *, dask: str | None = None) -> Iterator[Executor | None]:
    """Executor of ``workers`` processes, or of the Dask cluster at ``dask``; None for a single process.

    Every process has one thread. Workers of Dask see the same files.

    Raises:
        AdaSDEError: Dask is not installed, or no scheduler answers.
        DataError: a process died.
    """
    if dask:
        with _cluster("dask", dask) as pool:
            yield pool
    elif workers > 1:
        with _processes(workers) as pool:
            yield pool
    else:
        yield None


def _cluster(kind: str, address: str) -> AbstractContextManager[Executor]:
    for point in entry_points(group=EXECUTORS, name=kind):
        connect: Callable[[str], AbstractContextManager[Executor]] = point.load()
        return connect(address)
    raise AdaSDEError(
        f"no installed package provides {kind} clusters. Install one with: pip install 'adasde[{kind}]'"
    )


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died, probably for lack of memory. Run the same command again with fewer "
            "--workers: it resumes where it stopped."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def one_thread() -> None:
    """Let torch compute in one thread."""
    import torch

    torch.set_num_threads(1)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    one_thread()
