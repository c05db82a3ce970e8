"""Key tables: how a foreign checkpoint names its tensors, as an ordered list of patterns that reads both ways.

A rule is `(theirs, ours)`. `{i}` stands for a number, `{p}` for one last name (`weight`, `bias`, ...); each occurs as
often on both sides. The first rule that matches wins. Keys that only training needs are named in `drop`, where `*`
stands for anything; they are left out and reported. Any other key is an error: half a checkpoint gives plausible, wrong
features.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from speechssl.errors import CheckpointError

_PLACEHOLDERS = {"{i}": r"(\d+)", "{p}": r"(\w+)", "*": r".*"}
_SPLIT = re.compile(r"(\{i\}|\{p\}|\*)")
_SHOWN = 8  # keys named in an error


@dataclass(frozen=True)
class Mapped:
    """Tensors under our names, and the foreign keys that were left out because only training needs them."""

    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rules `(theirs, ours)` in order, and patterns of keys to leave out."""

    rules: tuple[tuple[str, str], ...]
    drop: tuple[str, ...] = ()
    _read: list[tuple[re.Pattern[str], str]] = field(init=False, repr=False, compare=False)
    _write: list[tuple[re.Pattern[str], str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile both directions."""
        object.__setattr__(self, "_read", [(_pattern(theirs), _template(ours)) for theirs, ours in self.rules])
        object.__setattr__(self, "_write", [(_pattern(ours), _template(theirs)) for theirs, ours in self.rules])

    def to_ours(self, tensors: Mapping[str, Tensor], *, where: str) -> Mapped:
        """Foreign tensors under our names. Raises CheckpointError for a left-over key or two keys with one name."""
        drop = [_pattern(pattern) for pattern in self.drop]
        ours: dict[str, Tensor] = {}
        dropped: list[str] = []
        leftover: list[str] = []
        for key, tensor in tensors.items():
            name = _rename(key, self._read)
            if name is None:
                (dropped if any(p.fullmatch(key) for p in drop) else leftover).append(key)
            elif name in ours:
                raise CheckpointError(f"{where}: two tensors stand for {name!r}, one of them {key!r}")
            else:
                ours[name] = tensor
        if leftover:
            raise CheckpointError(
                f"{where}: {len(leftover)} keys have no place in this architecture: {_some(leftover)}"
            )
        return Mapped(ours, tuple(dropped))

    def to_theirs(self, tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
        """Our tensors under foreign names. Raises CheckpointError where the foreign format has no name for one."""
        names = {key: _rename(key, self._write) for key in tensors}
        if homeless := [key for key, name in names.items() if name is None]:
            raise CheckpointError(f"{where}: this format cannot hold {_some(homeless)}")
        return {name: tensors[key] for key, name in names.items() if name is not None}


def check_complete(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, where: str) -> None:
    """Raise CheckpointError unless `found` has exactly the names and shapes of `wanted`."""
    if missing := sorted(set(wanted) - set(found)):
        raise CheckpointError(f"{where}: {len(missing)} tensors are missing: {_some(missing)}")
    if extra := sorted(set(found) - set(wanted)):
        raise CheckpointError(f"{where}: the configuration has no place for {_some(extra)}")
    shapes = ((key, tuple(found[key].shape), tuple(wanted[key].shape)) for key in wanted)
    if wrong := [f"{key} {a} instead of {b}" for key, a, b in shapes if a != b]:
        raise CheckpointError(f"{where}: shapes disagree with the configuration: {_some(wrong)}")


def strip_prefix(tensors: Mapping[str, Tensor], prefixes: Iterable[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors below the first of `prefixes` that occurs, without it; and the keys outside it (a head's tensors)."""
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in tensors):
            inside = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
            return inside, tuple(key for key in tensors if not key.startswith(prefix))
    return dict(tensors), ()


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("".join(_PLACEHOLDERS.get(part) or re.escape(part) for part in _SPLIT.split(text)))


def _template(text: str) -> str:
    return re.sub(r"\{[ip]\}", "{}", text)


def _rename(key: str, rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, template in rules:
        if match := pattern.fullmatch(key):
            return template.format(*match.groups())
    return None


def _some(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (f", ... ({len(items)} in all)" if len(items) > _SHOWN else "")
