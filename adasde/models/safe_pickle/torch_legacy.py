"""torch's file format of before version 1.6, which also lies inside pickles that hold single storages."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import torch
from torch import Tensor

from adasde.models.safe_pickle.allowlist import storage_of
from adasde.models.safe_pickle.stubs import Name, refuse
from adasde.models.safe_pickle.vm import load

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (at least 16 bytes) is of this format."""
    return head[:1] == b"\x80" and head[2:14] == b"\x8a\x0a" + MAGIC.to_bytes(10, "little")


def read_legacy(stream: IO[bytes], find: Callable[[str], Name], *, size: int) -> Any:
    """The object in the ``size`` bytes of ``stream``, a flat tensor in place of each storage.

    Raises:
        CheckpointError: it asks for something that is not harmless.
        ValueError and others: it is damaged.
    """
    storages = _Storages(size)
    if load(stream, find, size=size) != MAGIC or load(stream, find, size=size) != PROTOCOL:
        raise ValueError("not torch's old format")
    system = load(stream, find, size=size)
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise ValueError("numbers of another byte order")
    value = load(stream, find, size=size, persistent=storages.claim)
    storages.fill(stream, load(stream, find, size=size))
    return value


class _Storages:
    """Storages that are named before their numbers come; together no larger than the file is."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.claimed: dict[str, Tensor] = {}

    def claim(self, pid: Any) -> Tensor:
        """The storage of a persistent id, not filled yet."""
        key, dtype, count = storage_of(pid)
        if key not in self.claimed:
            self.room -= count * dtype.itemsize
            if self.room < 0:
                raise refuse(
                    f"has a storage of {count} numbers, more than the file has: it lies about its size"
                )
            self.claimed[key] = torch.empty(count, dtype=dtype)
        return self.claimed[key]

    def fill(self, stream: IO[bytes], keys: Any) -> None:
        """Read the numbers of all storages, in the order of ``keys``."""
        if not isinstance(keys, list) or sorted(keys) != sorted(self.claimed):
            raise ValueError("the storages are not those that the tensors are made of")
        for key in keys:
            storage = self.claimed[key]
            head = stream.read(8)
            if len(head) == 8 and int.from_bytes(head, "little") != storage.numel():
                raise refuse("has a storage that lies about its size")
            data = stream.read(storage.nbytes)
            if len(head) != 8 or len(data) != storage.nbytes:
                raise ValueError("cut short")
            if data:
                storage.copy_(torch.frombuffer(bytearray(data), dtype=storage.dtype))
