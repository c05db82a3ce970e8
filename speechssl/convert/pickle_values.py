"""What a foreign pickle may turn into: plain data and inert stubs; and the checks that make the tree safe to walk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from speechssl.errors import CheckpointError

MAX_DEPTH = 100  # of lists, tuples and dicts within each other
MAX_UNFOLDED = 20_000_000  # nodes of a tree when shared parts are counted each time
_PLAIN_KEYS = (str, bytes, bool, float, type(None))
_Path = list[tuple[Any, Iterator[Any], list[int]]]  # open containers: node, children to come, [depth, nodes] so far


@dataclass(frozen=True)
class Global:
    """A name that the file refers to without calling it."""

    module: str
    name: str


@dataclass(eq=False, repr=False)
class Stub:
    """What a file says about an object of a class we do not rebuild. Nothing of that class exists or runs.

    Stubs may refer to one another in cycles (omegaconf nodes know their parents); everything else is a finite tree.
    """

    module: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[Any, Any] = field(default_factory=dict)
    state: Any = None  # what would be passed to __setstate__ or to __dict__
    items: list[Any] = field(default_factory=list)  # what would be appended (subclasses of list, set)
    entries: list[tuple[Any, Any]] = field(default_factory=list)  # what would be set by key (subclasses of dict)

    def __repr__(self) -> str:
        return f"<Stub {self.module}.{self.name}>"

    @property
    def attributes(self) -> dict[str, Any]:
        """The instance's attributes by name, where the state is the usual dict or (dict, slots) pair."""
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        return {str(k): v for part in parts if isinstance(part, dict) for k, v in part.items()}


class Unfinished:
    """Base of values that are complete only after a later opcode; none may be left in a result."""


class Budget:
    """What one file may cost: `work` counts opcodes and elements that calls copy, `num_bytes` the bytes that they copy.

    Without it, a few bytes that copy a large object again and again would fill any memory.
    """

    def __init__(self, work: int, num_bytes: int) -> None:
        self._work, self._bytes = work, num_bytes

    def charge(self, work: int = 1, *, num_bytes: int = 0) -> None:
        """Pay, or raise CheckpointError."""
        self._work -= work
        self._bytes -= num_bytes
        if self._work < 0 or self._bytes < 0:
            raise CheckpointError("the pickle in it asks for more work or memory than any model file needs")


def is_safe_key(key: Any) -> bool:
    """Whether hashing is cheap: nested shared tuples take exponential time, huge integers can be made to collide."""
    if isinstance(key, tuple):
        return len(key) <= 16 and all(not isinstance(part, tuple) and is_safe_key(part) for part in key)
    if type(key) is int:
        return abs(key) < 1 << 60
    return isinstance(key, (*_PLAIN_KEYS, Stub, Global))


def safe_keys(keys: list[Any]) -> list[Any]:
    """The keys themselves, or CheckpointError."""
    for key in keys:
        if not is_safe_key(key):
            raise CheckpointError(f"the pickle in it uses a {type(key).__name__} as a key")
    return keys


def check_tree(root: Any) -> None:
    """Raise CheckpointError unless the containers below `root`, and below every stub, are finite trees of sane size."""
    stubs, seen_stubs = [root], {id(root)}
    measured: dict[int, tuple[int, int] | None] = {}  # container -> (depth, nodes); None while it is open
    while stubs:
        path: _Path = []
        _enter(stubs.pop(), path, measured)
        while path:
            node, children, totals = path[-1]
            child = next(children, path)
            if child is path:  # no more children
                path.pop()
                measured[id(node)] = depth, nodes = totals[0] + 1, totals[1] + 1
                if depth > MAX_DEPTH or nodes > MAX_UNFOLDED:
                    raise CheckpointError("the objects in it are nested too deeply or refer to each other too often")
                if path:
                    _add(path[-1][2], depth, nodes)
            elif isinstance(child, Unfinished):
                raise CheckpointError(f"the pickle in it leaves an unfinished {type(child).__name__}")
            elif isinstance(child, Stub):
                if id(child) not in seen_stubs:
                    seen_stubs.add(id(child))
                    stubs.append(child)
            elif _children(child) is not None:
                if id(child) not in measured:
                    _enter(child, path, measured)
                elif (known := measured[id(child)]) is None:
                    raise CheckpointError("a list or dict in it contains itself")
                else:
                    _add(totals, *known)


def _enter(node: Any, path: _Path, measured: dict[int, Any]) -> None:
    measured[id(node)] = None
    if isinstance(node, Stub):
        children: Iterable[Any] | None = (node.args, node.kwargs, node.state, node.items, node.entries)
    else:
        children = _children(node)
    path.append((node, iter((node,) if children is None else children), [0, 0]))


def _add(totals: list[int], depth: int, nodes: int) -> None:
    totals[0], totals[1] = max(totals[0], depth), totals[1] + nodes


def _children(node: Any) -> Iterable[Any] | None:
    if isinstance(node, list | tuple):
        return node
    if isinstance(node, dict):
        return [*node, *node.values()]
    if isinstance(node, set | frozenset):
        return node
    return node.flat if isinstance(node, np.ndarray) and node.dtype.hasobject else None
