"""Short list of the names that checkpoints ask for, and what is called in place of each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from .stubs import Array, DType, Inert, InstanceStub, Mapping, Refused, Tensor, Unlisted, refuse

DTYPES = {
    "Double": ("float64", 8),
    "Float": ("float32", 4),
    "Half": ("float16", 2),
    "BFloat16": ("bfloat16", 2),
    "Long": ("int64", 8),
    "Int": ("int32", 4),
    "Short": ("int16", 2),
    "Char": ("int8", 1),
    "Byte": ("uint8", 1),
    "Bool": ("bool", 1),
}
"""Beginning of a storage's name -> (torch's name of its numbers, bytes of each)."""

PASSED = {
    *(f"builtins.{name}" for name in ("bool", "bytes", "complex", "dict", "float", "int", "list")),
    *(f"builtins.{name}" for name in ("object", "str", "tuple", "type")),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath")),
    "argparse.Namespace",
    "collections.Counter",
    "collections.defaultdict",
    "torch.torch_version.TorchVersion",
    "typing.Any",
}
"""Classes that are inert beside the weights of a training checkpoint."""


def _scalar(dtype: Any, data: Any = b"") -> float:
    if not isinstance(dtype, DType) or not isinstance(data, bytes) or len(data) != dtype.layout().size:
        refuse("has an invalid number")
    (number,) = dtype.layout().unpack(data)
    return number


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        refuse("makes a parameter without a tensor")
    return data


def _encoded(text: Any, encoding: Any) -> bytes:
    """Bytes as the old protocols write them."""
    if not isinstance(text, str) or encoding != "latin1":
        named = encoding[:40] if isinstance(encoding, str) else type(encoding).__name__
        refuse(f"asks for _codecs.encode with {named!r}")
    return text.encode("latin1")


def _persistent(meta: Any) -> InstanceStub:
    """Object of NVIDIA's ``torch_utils.persistence``; its source code (``module_src``) is dropped unread."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        refuse("has a persistent object without a state")
    name = meta.get("class_name")
    return InstanceStub(name[:200] if isinstance(name, str) else "None", meta["state"])


def _module(name: str, *arguments: Any) -> InstanceStub:
    if arguments:
        refuse(f"calls {name} with arguments")
    return InstanceStub(name, {})


def _inert(*_: Any, **__: Any) -> Inert:
    return Inert()


KNOWN: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encoded,
    "builtins.set": set,
    "collections.OrderedDict": Mapping,
    "dnnlib.util.EasyDict": Mapping,
    "numpy.dtype": DType,
    "numpy.ndarray": _inert,
    **{f"numpy.{core}.multiarray._reconstruct": Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    "torch.Size": tuple,
    "torch.device": _inert,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": Tensor,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    **{f"torch.{name}Storage": _inert for name in DTYPES},
    **{f"torch.{name}": _inert for name, _ in DTYPES.values()},
}
"""The short list: name in the pickle -> what is called in its place."""


def not_listed(name: str) -> Refused:
    """The refusal of a name."""
    return Refused(f"asks for {name}, which is not on the list of harmless names")


def strict(name: str) -> Callable[..., Any]:
    """Function to call in place of ``name`` (Refused: it is not on the list)."""
    module, _, last = name.rpartition(".")
    if module.startswith("torch.nn.modules.") and last.isidentifier() and last[0].isupper():
        return partial(_module, name)
    if name not in KNOWN:
        raise not_listed(name)
    return KNOWN[name]


def lenient(name: str) -> Callable[..., Any]:
    """As ``strict``, but the classes of other packages become inert.

    Training checkpoints hold callbacks and settings beside their weights. Functions are refused, and so is
    everything of Python itself, numpy and torch except ``PASSED``.
    """
    module, _, last = name.rpartition(".")
    foreign = is_foreign(name) or module.startswith("torch.optim.")
    is_class = all(part.isidentifier() for part in name.split(".")) and last.lstrip("_")[:1].isupper()
    return _inert if name in PASSED or (foreign and is_class) else strict(name)


def is_foreign(name: str) -> bool:
    """Whether a name belongs neither to Python itself nor to numpy or torch."""
    return name.partition(".")[0] not in sys.stdlib_module_names | {"numpy", "torch"}


def deferred(name: str) -> Callable[..., Any]:
    """As ``strict``, but a foreign name is refused only where what it stands for is needed.

    The files of the authors name their solvers beside the numbers that we read.
    """
    return Unlisted(name) if is_foreign(name) and name not in KNOWN else strict(name)


def storages_only(name: str) -> Callable[..., Any]:
    """As ``strict``, for a storage that was saved by itself."""
    if not name.endswith("Storage"):
        raise not_listed(name)
    return strict(name)
