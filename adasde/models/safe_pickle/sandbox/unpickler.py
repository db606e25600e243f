"""Plain pickles and torch's old format, read by Python's own unpickler with stubs in place of all names."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from typing import IO, Any

from .allowlist import DTYPES, KNOWN, storages_only
from .stubs import Storage, Stub, Unlisted, refuse

MAGIC = 0x1950A86A20F9469CFC6C
"""First object of a file in torch's format of before version 1.6."""

NESTED = "torch.storage._load_from_bytes"
"""Function that reads a storage, saved by itself as bytes."""

PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules that pickles of an old protocol name."""


class Unpickler(pickle.Unpickler):
    """Python's own unpickler, which finds stubs only."""

    def __init__(
        self,
        stream: IO[bytes],
        find: Callable[[str], Callable[..., Any]],
        storages: dict[str, Storage] | None = None,
    ) -> None:
        super().__init__(stream)
        self.find, self.storages = find, storages
        self.stubs: dict[str, Stub] = {}

    def find_class(self, module: str, name: str) -> Stub:
        full = f"{PYTHON_2.get(module, module)}.{name}"
        if full not in self.stubs:
            nested = full == NESTED and self.find is not storages_only
            call = _storage_bytes if nested else self.find(full)
            made = {
                "__doc__": full,
                "__new__": lambda cls, *args, **named: call(*args, **named),
                "unlisted": isinstance(call, Unlisted),
            }
            self.stubs[full] = Stub("Stub", (), made)
        return self.stubs[full]

    def persistent_load(self, pid: Any) -> Storage:
        if self.storages is None or not isinstance(pid, tuple) or pid[:1] != ("storage",) or any(pid[5:]):
            refuse("refers to data outside itself")
        _, kind, key, _, count = pid[:5]
        name = str(kind.__doc__) if isinstance(kind, Stub) else ""
        if name not in KNOWN or not name.endswith("Storage") or not isinstance(key, str):
            refuse(f"has a storage of the unknown kind {name[:80]!r}")
        if type(count) is not int or not 0 <= count < 2**40:
            refuse("has a storage that lies about its size")
        dtype = DTYPES[name.removeprefix("torch.").removesuffix("Storage")]
        return self.storages.setdefault(key, Storage(key, *dtype, count))


def read(stream: IO[bytes], find: Callable[[str], Callable[..., Any]], *, archive: bool = False) -> Any:
    """The object in ``stream``; of an ``archive``, its storages are other members."""
    value = Unpickler(stream, find, {} if archive else None).load()
    if not isinstance(value, int) or value != MAGIC:
        return value
    Unpickler(stream, find).load()
    system = Unpickler(stream, find).load()
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise ValueError("numbers of another byte order")
    storages: dict[str, Storage] = {}
    value = Unpickler(stream, find, storages).load()
    _place(stream, storages, Unpickler(stream, find).load())
    return value


def _place(stream: IO[bytes], storages: dict[str, Storage], keys: Any) -> None:
    """Set the place of all storages, which follow in the order of ``keys``."""
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise ValueError("the storages are not those that the tensors are made of")
    begin = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    for storage in (storages[key] for key in keys):
        stream.seek(begin)
        head = stream.read(8)
        if storage.size > end or (len(head) == 8 and int.from_bytes(head, "little") != storage.count):
            refuse(f"has a storage of {storage.count} numbers: it lies about its size")
        storage.begin, begin = begin + 8, begin + 8 + storage.size
        if begin > end:
            raise ValueError("cut short")


def _storage_bytes(data: Any) -> Storage:
    """A storage that was saved by itself."""
    if not isinstance(data, bytes):
        refuse("asks for torch.storage._load_from_bytes without bytes")
    value = read(io.BytesIO(data), storages_only)
    if not isinstance(value, Storage):
        refuse("has an invalid storage")
    value.data = data
    return value
