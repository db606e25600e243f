"""Pickles read by a child process: its limits, and its answer as tensors and plain data.

The child is a fresh interpreter, not a fork: it is safe among threads, and imports neither torch nor adasde.
"""

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
"""Limit of the child's memory: bytes, and times the size of the pickle."""

SECONDS, SPEED = 5, 10_000_000
"""Limit of the child's CPU time: seconds, and bytes of the pickle for each further second."""

CODE = "import sys; sys.path.append(sys.argv[1]); from sandbox.child import main; main()"
"""Import of the folder ``sandbox`` by itself, because ``adasde.models`` loads torch."""

ReadBytes = Callable[[Any, int], Tensor]
"""(place, size) of a storage beside the pickle -> its bytes, as a flat tensor."""


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
    external: ReadBytes,
    *,
    archive: bool = False,
    keys: Sequence[str] = (),
    needed: Sequence[str] = (),
) -> Any:
    """Object in a pickle of ``size`` bytes: plain data, tensors and instances; anything else becomes None.

    ``external`` reads the storages that lie beside the pickle. ``archive``: the pickle is a member of a zip
    file of ``torch.save``. ``keys``: if the object has one of these entries, the first of them is read and
    the others become None. ``needed``: outside these entries, unlisted names of foreign packages (neither
    Python's own, numpy nor torch) are None instead of refused, and so is what the pickle makes of them.

    Raises:
        CheckpointError: the pickle asks for something that is not harmless, or for too much memory or time.
        ValueError: the pickle is damaged.
    """
    memory, seconds = MEMORY + TIMES * size, SECONDS + size // SPEED
    limits = {"memory": memory, "seconds": seconds, "size": size}
    options = json.dumps({**limits, "archive": archive, "keys": list(keys), "needed": list(needed)})
    command = [sys.executable or "python3", "-I", "-S", "-c", CODE, str(Path(__file__).parent), options]
    given: Any = {"input": pickled} if isinstance(pickled, bytes) else {"stdin": pickled}
    try:
        done = subprocess.run(command, **given, capture_output=True, timeout=12 * seconds, check=False)
    except OSError as error:
        raise CheckpointError(f"cannot start {command[0]} to read a pickle: {error}.") from error
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode < 0 or b"MemoryError" in done.stderr:
        raise refused(
            f"needs more than {memory >> 20} MB of memory or {seconds} s to be read, which no checkpoint of "
            "its size does"
        )
    if done.returncode:
        reason = printable(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
        raise CheckpointError(f"{command[0]}, started to read a pickle, failed: {reason[:200]}.")
    return _decoded(done.stdout, external)


def _decoded(output: bytes, external: ReadBytes) -> Any:
    end = output.index(b"\n")
    answer = json.loads(output[:end])
    if "refused" in answer:
        raise refused(answer["refused"])
    if "damaged" in answer:
        raise ValueError(answer["damaged"])
    blob = bytearray(memoryview(output)[end + 1 :])
    return _Decoder(answer["storages"], blob, external).decode(answer["document"])


class _Decoder:
    def __init__(self, rows: list[Any], blob: bytearray, external: ReadBytes) -> None:
        self.blob = torch.frombuffer(blob, dtype=torch.uint8) if blob else torch.empty(0, dtype=torch.uint8)
        self.storages = [self.storage(external, *row) for row in rows]

    def storage(self, external: ReadBytes, dtype_name: str, size: int, place: Any, inside: bool) -> Tensor:
        """The flat tensor of a storage; it shares its memory where its bytes are aligned."""
        dtype = getattr(torch, dtype_name)
        part = self.blob[place : place + size] if inside else external(place, size)
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
        begin, size, dtype, shape, order = content
        array = self.blob[begin : begin + size].numpy().view(dtype).reshape(shape, order=order)
        return torch.from_numpy(np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("=")).reshape(shape))
