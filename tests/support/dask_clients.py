"""Clients of Dask that a test has left open."""

from __future__ import annotations

import gc

import distributed


def open_clients() -> set[int]:
    """The clients of this process that nobody has closed."""
    gc.collect()
    clients = [thing for thing in gc.get_objects() if type(thing) is distributed.Client]
    return {id(client) for client in clients if client.status != "closed"}
