"""Documents as JSON: what the child process passes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .allowlist import not_listed
from .stubs import Array, InstanceStub, Storage, Stub, Tensor, Unlisted, refuse

MOST_VALUES, DEEPEST, BITS = 200_000, 100, 256
"""Limits of a document: its values, its nesting, its largest whole number."""


class AnswerEncoder:
    """A document as JSON, in which every object is ``{kind: content}``.

    Attributes:
        needed: whether the part at hand is needed: names that are not on the list are refused there, and None
            elsewhere.
        rows: the storages that its tensors refer to: type, bytes, place, whether that is in the blob.
        blob: the numbers that lie inside the pickle, twice its ``size`` at most.
    """

    def __init__(self, size: int) -> None:
        self.values, self.room, self.needed = MOST_VALUES, 2 * size, True
        self.rows: list[list[Any]] = []
        self.blob: list[bytes | memoryview] = []
        self.places: dict[Storage, int] = {}
        self.end = 0

    def entries(self, document: dict[Any, Any], needed: Sequence[str]) -> Any:
        """``document`` as JSON, of which the entries ``needed`` are needed."""
        pairs: list[Any] = []
        for key, item in document.items():
            self.needed = key in needed
            pairs += [_key(key), self.encode(item, 1)]
        return {"dict": pairs}

    def encode(self, value: Any, depth: int = 0) -> Any:
        """``value`` as JSON; what is neither data nor a tensor becomes None (Refused: it has no end)."""
        self.values -= 1 + (len(value) // 64 if isinstance(value, str) else 0)
        if self.values < 0 or depth > DEEPEST:
            refuse(f"has more than {MOST_VALUES} values, or no end")
        if isinstance(value, int) and value.bit_length() > BITS:
            refuse(f"has a whole number of {value.bit_length()} bits")
        if isinstance(value, (str, int, float)):
            return value
        if isinstance(value, dict):
            pairs = value.items()
            return {"dict": [part for k, v in pairs for part in (_key(k), self.encode(v, depth + 1))]}
        if isinstance(value, (list, tuple, set)):
            return [self.encode(item, depth + 1) for item in value]
        if isinstance(value, InstanceStub):
            return {"instance": [value.class_name, self.encode(value.state, depth + 1)]}
        if isinstance(value, Tensor):
            return {"tensor": [self.storage(value.storage), *value.place]}
        if isinstance(value, Array) and value.place:
            return {"array": [self.add(memoryview(value.data)), len(value.data), *value.place]}
        if self.needed:
            _check_listed(value)
        return None

    def storage(self, storage: Storage) -> int:
        """The row of a storage."""
        if storage not in self.places:
            place: int | str = storage.key if storage.begin is None else storage.begin
            if storage.data is not None and storage.begin is not None:
                place = self.add(memoryview(storage.data)[storage.begin : storage.begin + storage.size])
            self.places[storage] = len(self.rows)
            self.rows.append([storage.dtype, storage.size, place, storage.data is not None])
        return self.places[storage]

    def add(self, data: memoryview) -> int:
        """The place of ``data`` in the blob, a multiple of eight."""
        begin, self.end = self.end, self.end + len(data) + -len(data) % 8
        if begin + len(data) > self.room:
            refuse("uses the same numbers again and again, to fill the memory")
        self.blob += [data, bytes(-len(data) % 8)]
        return begin


def _check_listed(value: Any) -> None:
    """Refuse what stands for a name that is not on the list."""
    if isinstance(value, Unlisted):
        raise not_listed(value.name)
    if isinstance(value, Stub) and value.unlisted:
        raise not_listed(str(value.__doc__))


def _key(key: Any) -> Any:
    if isinstance(key, Stub):
        return key.__doc__
    if key is not None and not isinstance(key, (str, int, float)):
        refuse(f"has a key of the class {type(key).__name__}")
    return key
