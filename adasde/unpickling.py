"""Foreign pickles read as data: a short list of names is known, everything else is refused unexecuted."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adasde.errors import CheckpointError

LARGEST = 64 * 2**20  # bytes; a predictor has a few kilobytes


@dataclass(frozen=True)
class PersistentObject:
    """What NVIDIA's ``torch_utils.persistence`` wraps: the name of a class and its state.

    The source code that such a pickle carries (``module_src``) is dropped unread.
    """

    class_name: str
    state: dict[str, Any]


def load_pickle(path: str | os.PathLike[str]) -> Any:
    """The object in a pickle that holds tensors, plain data and persistent objects only.

    Raises:
        CheckpointError: the file cannot be read, is too large or damaged, or asks for a name that is not
            on the list; the message says which.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from error
    if len(data) > LARGEST:
        raise CheckpointError(f"{path} has {len(data)} bytes; a predictor has less than {LARGEST}.")
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path} is not a pickle that can be read ({error!r}).") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = ALLOWED.get(f"{module}.{name}")
        if known is None:
            raise CheckpointError(
                f"the pickle asks for {module}.{name}, which is not on the list of harmless names. It was "
                "refused and nothing was executed. Do not open this file with another program either, "
                "unless you trust where it comes from."
            )
        return known

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointError("the pickle refers to data outside itself, which a predictor never does.")


def _persistent(meta: Mapping[str, Any]) -> PersistentObject:
    return PersistentObject(str(meta["class_name"]), dict(meta["state"]))


def _parameter(data: Tensor, requires_grad: bool, hooks: Any) -> Tensor:
    return data


def _storage(data: bytes) -> Any:
    """A storage saved on any device, on the CPU; torch's own restricted reader opens the inner file."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


ALLOWED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch.storage._load_from_bytes": _storage,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
}
"""Name in the pickle -> what stands in for it here."""
