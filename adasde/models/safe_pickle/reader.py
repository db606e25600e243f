"""Untrusted checkpoint files, opened as data: nothing that they carry is executed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.safe_pickle.nvidia import flattened
from adasde.models.safe_pickle.process import Instance, printable, read_document
from adasde.models.safe_pickle.sandbox.unpickler import MAGIC
from adasde.models.safe_pickle.zip_reader import mapped, read_torch

NETWORK, WEIGHTS = "ema", "state_dict"
"""Entries that hold the weights: of NVIDIA's pickles, and of training checkpoints."""


@dataclass(frozen=True)
class Opened:
    """Content of an untrusted checkpoint file, as plain data; nothing of it was executed.

    Attributes:
        tensors: by dotted name, as the network's state dict has them; on the CPU, of the file's own dtype.
        about: ``format`` (``nvidia``, ``torch`` or ``safetensors``); of ``nvidia`` also ``modules``: dotted
            name of a module ("" the outermost) -> ``{"class_name", "args", "kwargs", "attributes"}``, its
            constructor's arguments and its plain attributes. From a model card also ``card`` (the card as
            plain data) and ``role`` (of the file).
    """

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any] = field(default_factory=dict)


def open_checkpoint(path: str | os.PathLike[str], *, key: str | None = None) -> Opened:
    """Weights in a checkpoint file: NVIDIA's pickle, a file of ``torch.save``, or safetensors.

    ``key`` is the entry that holds them; without it ``ema`` of NVIDIA's, ``state_dict`` of a training
    checkpoint, or the complete file if it holds nothing but weights.

    Raises:
        CheckpointError: the file cannot be read, is damaged, holds no weights, or asks for a name that is
            not on the list; the message says which.
    """
    file = Path(path)
    with _explained(file), file.open("rb") as stream:
        head = stream.read(16)
        if head[:4] == b"PK\x03\x04":
            return _weights(file, read_torch(file, [key or WEIGHTS]), key)
        if head[8:9] == b"{":
            import safetensors.torch

            return Opened(safetensors.torch.load_file(file), {"format": "safetensors"})
        if head[2:14] == b"\x8a\x0a" + MAGIC.to_bytes(10, "little"):
            return _weights(file, _document(file, stream, key or WEIGHTS), key)
        return _network(file, _document(file, stream, key or NETWORK), key or NETWORK)


def load_pickle(path: str | os.PathLike[str], *, needed: Sequence[str] = ()) -> Any:
    """Object in a pickle: tensors, plain data and persistent objects (``Instance``), None for anything else.

    ``needed``: the entries of a mapping in which every name must be on the list; in the others the names of
    foreign packages are None. Without it every name must be on the list.

    Raises:
        CheckpointError: the file cannot be read or is damaged, or asks for a name that is not on the list;
            the message says which.
    """
    with _explained(Path(path)), Path(path).open("rb") as stream:
        return _document(Path(path), stream, needed=needed)


def _document(path: Path, stream: IO[bytes], *keys: str, needed: Sequence[str] = ()) -> Any:
    size = path.stat().st_size
    if not size:
        raise EOFError("it is empty")
    os.lseek(stream.fileno(), 0, os.SEEK_SET)
    file = mapped(path)

    def numbers(place: int, count: int) -> Tensor:
        return file[place : place + count]

    return read_document(stream, size, numbers, keys=keys, needed=needed)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into a CheckpointError that names it."""
    try:
        yield
    except CheckpointError as error:
        named = str(error).startswith(str(path))
        raise (error if named else CheckpointError(f"{path}: {error}")) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path} is not a pickle that can be read ({str(error)[:200]!r}).") from error


def _held(document: Any) -> str:
    names = ", ".join(str(name) for name in document) if isinstance(document, dict) else "no mapping"
    return printable(names[:200])


def _network(path: Path, document: Any, key: str) -> Opened:
    """The network in one of NVIDIA's pickles."""
    network = document.get(key) if isinstance(document, dict) else document
    if not isinstance(network, Instance):
        raise CheckpointError(f"{path} is a pickle without a network {key!r}; it holds {_held(document)}.")
    tensors, modules = flattened(network)
    return Opened(tensors, {"format": "nvidia", "modules": modules})


def _weights(path: Path, document: Any, key: str | None) -> Opened:
    """The weights in a file of ``torch.save``."""
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} holds no mapping of names to weights.")
    chosen = key or (WEIGHTS if WEIGHTS in document else None)
    if chosen is not None and not isinstance(document.get(chosen), dict):
        raise CheckpointError(f"{path} has no weights {chosen!r}; it holds {_held(document)}.")
    weights = document if chosen is None else document[chosen]
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    others = [name for name in weights if name not in tensors and not isinstance(weights[name], int | float)]
    if not tensors or others or not all(isinstance(name, str) for name in tensors):
        what = f"{str(others[0])[:100]!r} is not a tensor" if others else "it is empty"
        raise CheckpointError(f"{path} holds something else than weights: {what}.")
    return Opened(tensors, {"format": "torch"})
