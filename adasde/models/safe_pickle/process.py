"""The child process that reads a pickle, and its answer as tensors and plain data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from adasde.errors import CheckpointError

MEMORY, TIMES = 256 * 2**20, 8
"""Bytes that the child may take beside ``TIMES`` the size of the pickle."""

SECONDS, SPEED = 5, 10_000_000
"""Seconds of computing that the child may take beside one for every ``SPEED`` bytes of the pickle."""

CODE = "import sys; sys.path.append(sys.argv[1]); from sandbox.child import main; main()"
"""Imports the folder ``sandbox`` by itself, because ``adasde.models`` loads torch."""

Outside = Callable[[Any, int], Tensor]
"""(place, bytes) of numbers beside the pickle -> those bytes."""


@dataclass(frozen=True)
class Instance:
    """An object of a class that is known as data: its name and its state."""

    class_name: str
    state: Mapping[Any, Any]


def printable(text: str) -> str:
    """``text`` from a file, with what could control a terminal escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def refused(what: str) -> CheckpointError:
    """The error for what no checkpoint does; ``what`` completes "the pickle"."""
    return CheckpointError(
        f"the pickle {printable(what)}. It was refused and nothing was executed. Do not open this file with "
        "another program either, unless you trust where it comes from."
    )


def read_document(
    pickled: IO[bytes] | bytes,
    size: int,
    outside: Outside,
    *,
    archive: bool = False,
    keys: Sequence[str] = (),
) -> Any:
    """The object in a pickle of ``size`` bytes: plain data, tensors, instances, None for everything else.

    ``archive``: it lies in a file of ``torch.save``, its numbers beside it. ``keys``: the first of these
    entries that the object has; only its value is read then, and the other entries become None.

    Raises:
        CheckpointError: it asks for something that is not harmless, or for too much memory or time.
        ValueError: it is damaged.
    """
    memory, seconds = MEMORY + TIMES * size, SECONDS + size // SPEED
    limits = {"memory": memory, "seconds": seconds, "size": size}
    options = json.dumps({**limits, "archive": archive, "keys": list(keys)})
    command = [sys.executable or "python3", "-I", "-S", "-c", CODE, str(Path(__file__).parent), options]
    given: Any = {"input": pickled} if isinstance(pickled, bytes) else {"stdin": pickled}
    try:
        done = subprocess.run(command, **given, capture_output=True, timeout=12 * seconds, check=False)
    except OSError as error:
        raise CheckpointError(f"cannot start {sys.executable} to read a pickle: {error}.") from error
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        raise refused(
            f"needs more than {memory >> 20} MB of memory or {seconds} s to be read, which no checkpoint of "
            "its size does"
        )
    return _decoded(done.stdout, outside)


def _decoded(output: bytes, outside: Outside) -> Any:
    end = output.index(b"\n")
    answer = json.loads(output[:end])
    if "refused" in answer:
        raise refused(answer["refused"])
    if "damaged" in answer:
        raise ValueError(answer["damaged"])
    return _Decoder(answer["storages"], bytearray(memoryview(output)[end + 1 :]), outside).decode(
        answer["document"]
    )


class _Decoder:
    def __init__(self, rows: list[Any], blob: bytearray, outside: Outside) -> None:
        self.blob = torch.frombuffer(blob, dtype=torch.uint8) if blob else torch.empty(0, dtype=torch.uint8)
        self.storages = [self.storage(outside, *row) for row in rows]

    def storage(self, outside: Outside, dtype_name: str, size: int, place: Any, inside: bool) -> Tensor:
        """The flat tensor of a storage; it shares its memory where its bytes are aligned."""
        dtype = getattr(torch, dtype_name)
        part = self.blob[place : place + size] if inside else outside(place, size)
        return (part if part.storage_offset() % dtype.itemsize == 0 else part.clone()).view(dtype)

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "dict":
            return {key: self.decode(item) for key, item in zip(content[::2], content[1::2], strict=True)}
        if kind == "instance":
            return Instance(content[0], self.decode(content[1]))
        if kind == "tensor":
            row, offset, size, stride = content
            storage = self.storages[row]
            return storage.as_strided(size, stride, int(storage.storage_offset()) + offset)
        begin, size, dtype, shape, fortran = content
        array = self.blob[begin : begin + size].numpy().view(dtype).reshape(shape, order="FC"[not fortran])
        return torch.from_numpy(np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("=")).reshape(shape))
