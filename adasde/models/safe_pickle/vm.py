"""Pickles as data: every instruction is carried out here, none calls what the file names.

Python's own unpickler imports and calls; this one builds lists, dictionaries, numbers, text, bytes, and what
the short list in ``allowlist`` stands in for. Its memory is bounded by the size of the file.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable
from typing import IO, Any

from adasde.models.safe_pickle.stubs import Buildable, Inert, Instance, Name, called, refuse

MOST = 2_000_000
"""Instructions of the longest pickle; a network of a thousand tensors has about 50 000."""
ROOM = 1 << 20
"""Bytes that calls may take beyond twice the size of the pickle: what is used again and again is refused."""

BITS = 256
"""Of the largest whole number."""

MARK = object()
SIZED = (str, bytes, list, dict, tuple)

OLD = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules of Python 2 that pickles of an old protocol name."""


def load(
    stream: IO[bytes] | Any,
    find: Callable[[str], Name],
    *,
    size: int,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The object of the next pickle in ``stream``, which is left behind it; of ``size`` bytes at most.

    ``find(name)`` gives what stands in for ``module.name``, or raises Refused; ``persistent(id)`` what a
    persistent id means.

    Raises:
        CheckpointError: it asks for something that is not harmless; says for what.
        ValueError, IndexError, TypeError, KeyError and others: it is damaged.
    """
    return _Machine(find, persistent, 2 * size + ROOM).run(stream)


class _Machine:
    def __init__(
        self, find: Callable[[str], Name], persistent: Callable[[Any], Any] | None, room: int
    ) -> None:
        self.find, self.persistent, self.room = find, persistent, room
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: IO[bytes]) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MOST:
                raise refuse(f"has more than {MOST} instructions")
            if opcode.name in PLAIN:
                self.stack.append(_number(argument) if isinstance(argument, int) else argument)
            elif opcode.name in VALUES:
                self.stack.append(VALUES[opcode.name]())
            elif opcode.name == "STOP":
                return self.pop()
            elif opcode.name in ACTIONS:
                ACTIONS[opcode.name](self, argument)
            else:
                raise refuse(f"uses the instruction {opcode.name} {argument if argument is not None else ''}")
        raise ValueError("no end")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise ValueError("a mark where a value should be")
        return value

    def pop_mark(self) -> list[Any]:
        """What lies above the last mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is MARK:
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise ValueError("no mark")

    def top(self, kind: type | tuple[type, ...]) -> Any:
        """The last value, which must be of ``kind``."""
        if not isinstance(self.stack[-1], kind):
            raise refuse(f"changes an object of {called(self.stack[-1])}")
        return self.stack[-1]

    def nothing(self, argument: Any) -> None:
        pass

    def mark(self, argument: Any) -> None:
        self.stack.append(MARK)

    def drop(self, argument: Any) -> None:
        self.stack.pop()

    def drop_mark(self, argument: Any) -> None:
        self.pop_mark()

    def dup(self, argument: Any) -> None:
        self.stack.append(self.stack[-1])

    def get(self, argument: int) -> None:
        self.stack.append(self.memo[int(argument)])

    def put(self, argument: int | None) -> None:
        place = len(self.memo) if argument is None else int(argument)
        self.memo[place] = value = self.stack[-1]
        if isinstance(value, Buildable):
            value.places.append(place)

    def tuple_(self, argument: Any) -> None:
        self.stack.append(tuple(self.pop_mark()))

    def tuples(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(values)))

    def list_(self, argument: Any) -> None:
        self.stack.append(self.pop_mark())

    def dict_(self, argument: Any) -> None:
        values = self.pop_mark()
        made: dict[Any, Any] = {}
        _fill(made, values)
        self.stack.append(made)

    def append(self, argument: Any) -> None:
        self.extend([self.pop()])

    def appends(self, argument: Any) -> None:
        self.extend(self.pop_mark())

    def extend(self, values: list[Any]) -> None:
        target = self.top((list, Inert))
        if isinstance(target, list):
            target.extend(values)

    def setitem(self, argument: Any) -> None:
        value, key = self.pop(), self.pop()
        self.items([key, value])

    def setitems(self, argument: Any) -> None:
        self.items(self.pop_mark())

    def items(self, values: list[Any]) -> None:
        target = self.top((dict, Inert))
        if isinstance(target, dict):
            _fill(target, values)

    def additems(self, argument: Any) -> None:
        values = self.pop_mark()
        self.top(set).update(_key(value) for value in values)

    def frozenset_(self, argument: Any) -> None:
        self.stack.append(frozenset(_key(value) for value in self.pop_mark()))

    def global_(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.found(module, name))

    def stack_global(self, argument: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise refuse("asks for a name that is no text")
        self.stack.append(self.found(module, name))

    def inst(self, argument: str) -> None:
        values = self.pop_mark()
        module, _, name = argument.partition(" ")
        self.call(self.found(module, name), tuple(values))

    def obj(self, argument: Any) -> None:
        target, *values = self.pop_mark()
        self.call(target, tuple(values))

    def found(self, module: str, name: str) -> Name:
        return self.find(f"{OLD.get(module, module)}.{name}")

    def reduce(self, argument: Any) -> None:
        values, target = self.pop(), self.pop()
        self.call(target, values)

    def newobj_ex(self, argument: Any) -> None:
        named, values, target = self.pop(), self.pop(), self.pop()
        if named and isinstance(target, Name) and target.stand_in is not None:
            raise refuse(f"calls {target.name} with names of arguments")
        self.call(target, values)

    def call(self, target: Any, values: Any) -> None:
        """Push what ``target(*values)`` stands for."""
        if not isinstance(target, Name):
            raise refuse(f"calls an object of {called(target)}")
        if not isinstance(values, tuple):
            raise refuse(f"calls {target.name} with no list of arguments")
        self.spend(values)
        self.stack.append(Inert(target.name) if target.stand_in is None else target.stand_in(*values))

    def spend(self, values: tuple[Any, ...]) -> None:
        """Count what a call is given: a megabyte that is given a million times is no megabyte."""
        self.room -= sum(
            len(value) for value in values if isinstance(value, str | bytes | list | dict | tuple)
        )
        if self.room < 0:
            raise refuse("uses the same data again and again, to fill the memory")

    def build(self, argument: Any) -> None:
        state = self.pop()
        target = self.top((Inert, Instance, dict, Buildable))
        if isinstance(target, Instance):
            if target.state or not isinstance(state, dict):
                raise refuse(f"sets the state of {target.class_name} to something else")
            target.state = state
        elif isinstance(target, Buildable):
            self.spend(state if isinstance(state, tuple) else ())
            self.stack[-1] = target.built(state)
            self.memo.update(dict.fromkeys(target.places, self.stack[-1]))

    def persid(self, argument: Any) -> None:
        if self.persistent is None:
            raise refuse("refers to data outside itself")
        self.stack.append(self.persistent(self.pop()))


NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
BYTES = {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
TEXT = {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
PLAIN = NUMBERS | BYTES | TEXT
"""Instructions whose argument is the value."""

VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}

ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.nothing,
    "FRAME": _Machine.nothing,
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_mark,
    "DUP": _Machine.dup,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    "TUPLE": _Machine.tuple_,
    "TUPLE1": lambda machine, _: machine.tuples(1),
    "TUPLE2": lambda machine, _: machine.tuples(2),
    "TUPLE3": lambda machine, _: machine.tuples(3),
    "LIST": _Machine.list_,
    "DICT": _Machine.dict_,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "ADDITEMS": _Machine.additems,
    "FROZENSET": _Machine.frozenset_,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "INST": _Machine.inst,
    "OBJ": _Machine.obj,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.newobj_ex,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persid,
}
"""What the other instructions do. What is missing here (EXT, PERSID, buffers) is refused."""


def _number(value: int) -> int:
    if value.bit_length() > BITS:
        raise refuse(f"has a whole number of {value.bit_length()} bits")
    return value


def _fill(target: dict[Any, Any], values: list[Any]) -> None:
    if len(values) % 2:
        raise ValueError("a key without a value")
    for place in range(0, len(values), 2):
        target[_key(values[place])] = values[place + 1]


def _key(value: Any) -> Any:
    """``value``, if it is quick to hash: nested tuples can be made to take for ever."""
    simple = value is None or isinstance(value, str | bytes | Name)
    if not simple and not (isinstance(value, int) and abs(value) < sys.hash_info.modulus):
        raise refuse(f"has a key of {called(value)}")
    return value
