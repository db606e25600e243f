"""Objects that stand in for those of a pickle, and the refusal of everything else."""

from __future__ import annotations

import struct
from math import prod
from typing import Any, NoReturn

NUMBERS = {
    **{"b1": "?", "f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q"},
    **{"u1": "B", "u2": "H", "u4": "I", "u8": "Q"},
}
"""numpy's code of a kind of number -> Python's (``struct``)."""


class Refused(Exception):
    """What a pickle asks for and does not get; completes "the pickle"."""


def refuse(what: str) -> NoReturn:
    """Refuse something that no checkpoint does."""
    raise Refused(f"{what}, which no checkpoint does")


class Stub(type):
    """Class of the classes that stand in for names; a pickle can call them and change nothing.

    ``unlisted``: the name is not on the list, and calling its stand-in gives an ``Unlisted``.
    """

    unlisted: bool

    def change(cls, *_: Any) -> NoReturn:
        """Refuse what a pickle does to a class beside calling it."""
        refuse(f"changes an object of {cls.__doc__}")

    __setattr__ = __setitem__ = __setstate__ = append = extend = change


class Value:
    """An object that a pickle may not change once it is made."""

    def __setstate__(self, state: Any) -> None:
        refuse(f"changes an object of the class {type(self).__name__}")


class Inert(Value):
    """An object of an unknown class: nothing is kept of it."""

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    append = extend = add = __setstate__


class Unlisted(Inert):
    """A name of a foreign package that is not on the list, and what a pickle makes of it: nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any, **__: Any) -> Unlisted:
        return self


class Mapping(dict[Any, Any]):
    """A dictionary of another class, whose further state is dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class InstanceStub(Value):
    """An object of a class that is known as data: its name and its state."""

    def __init__(self, class_name: str, state: dict[Any, Any]) -> None:
        self.class_name, self.state = class_name, state

    def __setstate__(self, state: Any) -> None:
        if self.state or not isinstance(state, dict):
            refuse(f"sets the state of {self.class_name} to something else")
        self.state = state


class Storage(Value):
    """Numbers in a row, at ``begin`` in ``data``, or in the file if ``data`` is None."""

    def __init__(self, key: str, dtype: str, itemsize: int, count: int) -> None:
        self.key, self.dtype, self.count, self.size = key, dtype, count, count * itemsize
        self.begin: int | None = None
        self.data: bytes | None = None


class Tensor(Value):
    """Part of a storage, and no larger."""

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> None:
        numbers = (size, stride, (offset,))
        if (
            not isinstance(storage, Storage)
            or not all(isinstance(row, tuple) and len(row) <= 16 for row in numbers)
            or not all(type(value) is int and 0 <= value < 2**62 for row in numbers for value in row)
        ):
            refuse("makes an invalid tensor")
        count = prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if count > storage.count or (count and last >= storage.count):
            refuse(f"has a tensor of {count} numbers in a storage of {storage.count}: it lies about its size")
        self.storage, self.place = storage, [offset, size, stride]


class DType(Value):
    """numpy's description of numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.lstrip("<>|=") if isinstance(code, str) else ""
        if self.code not in NUMBERS:
            refuse(f"asks for numpy.dtype of {self.code[:40]!r}; numbers alone are known")
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            refuse("gives numpy.dtype a state that is not known")
        self.order = state[1]

    def layout(self) -> struct.Struct:
        """The layout of one number."""
        return struct.Struct(f"{self.order.replace('|', '=')}{NUMBERS[self.code]}")


class Array(Value):
    """numpy's array, whose numbers come with its state."""

    def __init__(self, *_: Any) -> None:
        self.place: list[Any] = []
        self.data = b""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, DType) or not isinstance(data, bytes) or not isinstance(shape, tuple):
            refuse("has a numpy array of objects")
        numbers = len(shape) <= 16 and all(type(length) is int and length >= 0 for length in shape)
        if not numbers or prod(shape) * dtype.layout().size != len(data):
            refuse("has a numpy array that lies about its size")
        self.place, self.data = [dtype.order + dtype.code, shape, "F" if fortran else "C"], data
