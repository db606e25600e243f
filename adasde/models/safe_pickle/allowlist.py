"""The short list: names that checkpoints ask for, and what stands in for each."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adasde.models.safe_pickle.stubs import Buildable, Inert, Instance, Name, refuse, refuse_name

DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
"""Beginning of a storage's name -> its numbers."""

PASSED = (
    *(f"builtins.{name}" for name in ("bool", "bytes", "complex", "dict", "float", "int", "list")),
    *(f"builtins.{name}" for name in ("object", "str", "tuple", "type")),
    "argparse.Namespace",
    "collections.Counter",
    "collections.defaultdict",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "typing.Any",
)
"""Classes of Python itself that may stand, inert, beside the weights of a checkpoint."""

OURS = frozenset({"numpy", "torch"})
"""Packages whose names are on the list or refused."""


def strict(name: str) -> Name:
    """What stands in for ``name`` (Refused: it is not on the list)."""
    if name in KNOWN:
        return Name(name, KNOWN[name])
    module, _, last = name.rpartition(".")
    if module.startswith("torch.nn.modules.") and last.isidentifier() and last[0].isupper():
        return Name(name, partial(_module, name))
    raise refuse_name(name)


def passing(name: str) -> Name:
    """As ``strict``, but the classes of other packages become inert: never imported, never called.

    For training checkpoints, which hold callbacks and settings beside their weights. Functions are refused,
    and so is all that belongs to Python itself or to torch, but for ``PASSED``.
    """
    module, _, last = name.rpartition(".")
    package = module.partition(".")[0]
    foreign = package not in sys.stdlib_module_names | OURS or module.startswith("torch.optim.")
    is_class = all(part.isidentifier() for part in name.split(".")) and last.lstrip("_")[:1].isupper()
    if name in PASSED or name == "torch.torch_version.TorchVersion" or (foreign and is_class):
        return Name(name, None)
    return strict(name)


def _storages_only(name: str) -> Name:
    """What a storage saved by itself may name; no other saved storage in it."""
    if not name.endswith("Storage"):
        raise refuse_name(name)
    return strict(name)


def _module(name: str, *arguments: Any) -> Instance:
    if arguments:
        raise refuse(f"calls {name} with arguments")
    return Instance(name, {})


def _persistent(meta: Any) -> Instance:
    """What NVIDIA's ``torch_utils.persistence`` wraps; its source code (``module_src``) is dropped unread."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise refuse("has a persistent object without a state")
    return Instance(str(meta.get("class_name"))[:200], meta["state"])


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise refuse("fills collections.OrderedDict with something else than pairs")
    return dict(pairs)


def _empty(*arguments: Any) -> dict[Any, Any]:
    return _ordered() if not arguments or arguments == ({},) else dict(_mapping(*arguments))


def _mapping(value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise refuse("fills dnnlib.util.EasyDict with something else than a dictionary")
    return value


def _set(values: Any = ()) -> set[Any]:
    if not all(isinstance(value, str | int) for value in values):
        raise refuse("fills builtins.set with something else than text and numbers")
    return set(values)


def _encode(text: Any, encoding: Any) -> bytes:
    """How bytes are written in the old protocols."""
    if not isinstance(text, str) or encoding != "latin1":
        raise refuse(f"asks for _codecs.encode with {str(encoding)[:40]!r}")
    return text.encode("latin1")


def _parameter(data: Any, *rest: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise refuse("makes a parameter of something that is no tensor")
    return data


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """A part of a storage, which is a flat tensor here; no larger than that."""
    sizes = (size, stride, (offset,))
    whole = isinstance(storage, Tensor) and all(
        isinstance(values, tuple) and all(type(value) is int and value >= 0 for value in values)
        for values in sizes
    )
    if not whole or len(size) != len(stride) or len(size) > 16:
        raise refuse("makes a tensor of something that is none")
    count = prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count > storage.numel() or (count and last >= storage.numel()):
        raise refuse(
            f"has a tensor of {count} numbers in a storage of {storage.numel()}: it lies about its size"
        )
    return storage.as_strided(size, stride, int(storage.storage_offset()) + offset)


def _storage_bytes(data: Any) -> Tensor:
    from adasde.models.safe_pickle.torch_legacy import read_legacy

    if not isinstance(data, bytes):
        raise refuse("asks for torch.storage._load_from_bytes without bytes")
    value = read_legacy(io.BytesIO(data), _storages_only, size=len(data))
    if not isinstance(value, Tensor):
        raise refuse("has a storage that is none")
    return value


class _DType(Buildable):
    """numpy's description of numbers."""

    def __init__(self, code: Any, *rest: Any) -> None:
        super().__init__()
        if not isinstance(code, str) or code.lstrip("<>|=")[:1] not in tuple("biuf") or len(code) > 4:
            raise refuse(f"asks for numpy.dtype of {str(code)[:40]!r}; numbers alone are known")
        self.dtype = np.dtype(code)

    def built(self, state: Any) -> _DType:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise refuse("gives numpy.dtype a state that is not known")
        self.dtype = self.dtype.newbyteorder(order)
        return self


class _Array(Buildable):
    """An array whose numbers come with its state."""

    def built(self, state: Any) -> Tensor:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise refuse("has a numpy array of objects")
        if prod(shape) * dtype.dtype.itemsize != len(data):
            raise refuse("has a numpy array that lies about its size")
        array = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if fortran else "C")
        return torch.from_numpy(np.ascontiguousarray(array.astype(dtype.dtype.newbyteorder("="))))


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, _DType) or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
        raise refuse("has a number that is none")
    return np.frombuffer(data, dtype.dtype)[0].item()


def _array(kind: Any, *rest: Any) -> _Array:
    return _Array()


def _device(*arguments: Any) -> Inert:
    return Inert("torch.device")


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values)


KNOWN: dict[str, Callable[..., Any] | None] = {
    "_codecs.encode": _encode,
    "builtins.set": _set,
    "collections.OrderedDict": _ordered,
    "dnnlib.util.EasyDict": _empty,
    "numpy.dtype": _DType,
    "numpy.ndarray": None,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    "torch.Size": _size,
    "torch.device": _device,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _storage_bytes,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    **{f"torch.{name}Storage": None for name in DTYPES},
    **{str(dtype): None for dtype in DTYPES.values()},
}
"""Name in the pickle -> what stands in for it here; None: it is only named."""


def storage_of(pid: Any) -> tuple[str, torch.dtype, int]:
    """(key, numbers, how many) of the storage that torch's persistent id names (Refused: none)."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or any(pid[5:]):
        raise refuse("refers to data outside itself")
    _, kind, key, _, count = pid[:5]
    name = kind.name if isinstance(kind, Name) else ""
    dtype = DTYPES.get(name.removeprefix("torch.").removesuffix("Storage"))
    if dtype is None or not isinstance(key, str):
        raise refuse(f"has a storage of the unknown kind {name[:80]!r}")
    if type(count) is not int or not 0 <= count < 2**40:
        raise refuse("has a storage that lies about its size")
    return key, dtype, count
