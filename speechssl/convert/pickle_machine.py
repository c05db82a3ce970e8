"""A pickle interpreter that cannot run anything: it reads the opcodes and builds plain data and inert stubs.

The standard library only splits the bytes into opcodes (`pickletools.genops`, which executes nothing); what each opcode
does is written here. No name found in a file is ever imported: a global becomes `Global(module, name)`, a call becomes
`Stub(module, name, args)`, and only the functions in a closed table of our own (`pickle_objects`) make other values.
An own interpreter was preferred to a subclass of the standard Unpickler: the subclass inherits whatever the base class
does with real objects (`__setstate__`, `__new__`, attribute access, the copyreg extension registry), and its C version
allocates by numbers in the file.

Work is bounded: one budget pays for every opcode and for every element that a call copies.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from speechssl.convert.pickle_values import Budget, Global, Stub, Unfinished, safe_keys
from speechssl.errors import CheckpointError


class Stream(Protocol):
    """What opcodes are read from: BytesIO or mmap, which never read past their end."""

    def read(self, size: int = ..., /) -> bytes: ...  # noqa: D102
    def readline(self) -> bytes: ...  # noqa: D102
    def tell(self) -> int: ...  # noqa: D102


class Pending(Unfinished):
    """A value that is complete only after its BUILD opcode; `build` gives the value that takes its place."""

    def build(self, state: Any, machine: "Machine") -> Any:
        """The finished value. Overridden by every kind."""
        raise CheckpointError(f"{type(self).__name__} cannot be built from {type(state).__name__}")


Known = Mapping[tuple[str, str], Callable[[tuple[Any, ...], Budget], Any]]


class Machine:
    """Runs one pickle at a time from a stream.

    known: functions that stand in for the names they are listed under; each gets (args, budget).
    constants: values that stand in for names.
    persistent: gives the value of a persistent id (torch's storages), or None where the format has none.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        known: Known,
        constants: Mapping[tuple[str, str], Any],
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.stream, self.budget = stream, budget
        self._known, self._constants, self._persistent = known, constants, persistent
        self._nested = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._slots: dict[int, list[int]] = {}  # id of a pending value -> its places in the memo

    def run(self) -> Any:
        """The value of the pickle that starts at the stream's position; the stream ends up behind its STOP."""
        self._stack, self._marks, self._memo, self._slots = [], [], {}, {}
        for opcode, arg, _ in pickletools.genops(self.stream):  # type: ignore[arg-type]
            self.budget.charge(1)
            if opcode.name == "STOP":
                break
            _OPCODES[opcode.name](self, arg)
        value = self._stack.pop()
        if self._stack or self._marks:
            raise CheckpointError("the pickle in it ends with values left over")
        return value

    def run_nested(self) -> Any:
        """The value of a pickle that lies inside the present one at the stream's position (joblib's object arrays)."""
        if self._nested >= 4:
            raise CheckpointError("pickles nested too deeply")
        saved = self._stack, self._marks, self._memo, self._slots
        self._nested += 1
        value = self.run()
        self._nested -= 1
        self._stack, self._marks, self._memo, self._slots = saved
        return value

    # Opcodes. `self._stack[-n]` and `pop` raise IndexError on a stack that is too short; the reader reports it.

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _proto(self, version: int) -> None:
        if version > 5:
            raise CheckpointError(f"pickle protocol {version} is not known")

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop_mark(self, _: Any = None) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _put(self, index: int) -> None:
        value = self._stack[-1]
        self._memo[index] = value
        if isinstance(value, Pending):
            self._slots.setdefault(id(value), []).append(index)

    def _tuple_of(self, size: int) -> None:
        items = tuple(self._stack[-size:])
        if len(items) != size:
            raise IndexError("stack too short")
        self._stack[-size:] = [items]

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, set):
            target.update(safe_keys(items))
        else:
            _kind(target.items if isinstance(target, Stub) else target, list).extend(items)

    def _set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise CheckpointError("the pickle in it sets a key without a value")
        target = self._stack[-1]
        pairs = zip(safe_keys(items[::2]), items[1::2], strict=True)
        if isinstance(target, Stub):
            target.entries.extend(pairs)
        else:
            _kind(target, dict).update(pairs)

    def _set_item(self) -> None:
        value = self._stack.pop()
        self._set_items([self._stack.pop(), value])

    def _dict(self, _: Any) -> None:
        items = self._pop_mark()
        self._push({})
        self._set_items(items)

    def _global(self, module: Any, name: Any) -> None:
        key = (_kind(module, str), _kind(name, str))
        self._push(self._constants[key] if key in self._constants else Global(*key))

    def _stack_global(self, _: Any) -> None:
        name = self._stack.pop()
        self._global(self._stack.pop(), name)

    def _call(self, function: Any, args: Any, kwargs: Any = None) -> None:
        args, kwargs = _kind(args, tuple), _kind({} if kwargs is None else kwargs, dict)
        if isinstance(function, Global):
            key = (function.module, function.name)
            known = self._known.get(key) if not kwargs else None
            self._push(known(args, self.budget) if known else Stub(*key, args, kwargs))
        else:  # the result of another call, as in getattr(x, "y")(): recorded, like all the rest
            self.budget.charge(len(args))
            self._push(Stub("", "call", (function, *args), kwargs))

    def _reduce(self, _: Any) -> None:
        args = self._stack.pop()
        self._call(self._stack.pop(), args)

    def _new_extended(self, _: Any) -> None:
        kwargs, args = self._stack.pop(), self._stack.pop()
        self._call(self._stack.pop(), args, kwargs)

    def _inst(self, arg: str) -> None:
        self._call(Global(*_split(arg)), tuple(self._pop_mark()))

    def _obj(self, _: Any) -> None:
        function, *args = self._pop_mark()
        self._call(function, tuple(args))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Stub):
            target.state = state
        elif isinstance(target, Pending):
            self._stack[-1] = finished = target.build(state, self)
            for index in self._slots.pop(id(target), ()):
                self._memo[index] = finished
        else:  # an OrderedDict's attributes, such as a state dict's _metadata: left out
            _kind(target, dict)

    def _persistent_id(self, _: Any) -> None:
        if self._persistent is None:
            raise CheckpointError("it refers to data outside itself (a persistent id)")
        self._push(self._persistent(self._stack.pop()))

    def _refuse(self, _: Any) -> None:
        raise CheckpointError("it uses a pickle opcode that no model file needs (extension, text id or outside buffer)")


def _kind(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise CheckpointError(f"the pickle in it is damaged: {type(value).__name__} where {kind.__name__} belongs")
    return value


def _split(arg: str) -> tuple[str, str]:
    module, _, name = arg.partition(" ")
    return module, name


def _pushing(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine._push(make())


_ARGUMENT = [
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
]
_OPCODES: dict[str, Callable[[Machine, Any], Any]] = {
    **dict.fromkeys(_ARGUMENT, Machine._push),
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_TUPLE": _pushing(tuple),
    "EMPTY_DICT": _pushing(dict),
    "EMPTY_SET": _pushing(set),
    "PROTO": Machine._proto,
    "FRAME": lambda machine, _: None,
    "MARK": Machine._mark,
    "POP": Machine._pop,
    "POP_MARK": Machine._pop_mark,
    "DUP": lambda machine, _: machine._push(machine._stack[-1]),
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], lambda machine, index: machine._push(machine._memo[index])),
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT"], Machine._put),
    "MEMOIZE": lambda machine, _: machine._put(len(machine._memo)),
    "LIST": lambda machine, _: machine._push(machine._pop_mark()),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._pop_mark())),
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "DICT": Machine._dict,
    "FROZENSET": lambda machine, _: machine._push(frozenset(safe_keys(machine._pop_mark()))),
    "APPEND": lambda machine, _: machine._extend([machine._stack.pop()]),
    **dict.fromkeys(["APPENDS", "ADDITEMS"], lambda machine, _: machine._extend(machine._pop_mark())),
    "SETITEM": lambda machine, _: machine._set_item(),
    "SETITEMS": lambda machine, _: machine._set_items(machine._pop_mark()),
    "GLOBAL": lambda machine, arg: machine._global(*_split(arg)),
    "STACK_GLOBAL": Machine._stack_global,
    **dict.fromkeys(["REDUCE", "NEWOBJ"], Machine._reduce),
    "NEWOBJ_EX": Machine._new_extended,
    "INST": Machine._inst,
    "OBJ": Machine._obj,
    "BUILD": Machine._build,
    "BINPERSID": Machine._persistent_id,
    **dict.fromkeys(["PERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"], Machine._refuse),
}
