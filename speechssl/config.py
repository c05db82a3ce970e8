"""Configs: TOML files and `key=value` overrides into frozen dataclasses, strictly.

A file may start with `extends = "base.toml"` (a path relative to itself); its own keys win. msgspec checks the types;
unknown keys are found here, because a misspelt setting must never be ignored in silence.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from speechssl import files
from speechssl.errors import ConfigError

T = TypeVar("T")
_MOST_BYTES = 1 << 20
_LONGEST_CHAIN = 20  # files that extend each other


def load(cls: type[T], path: Path | Sequence[Path] | None = None, overrides: Sequence[str] = ()) -> T:
    """An instance of dataclass `cls` from a TOML file and `a.b=value` overrides (TOML values or bare strings).

    Of several files the later win. Raises ConfigError that names the file or key.
    """
    values: dict[str, Any] = {}
    for one in [path] if isinstance(path, Path) else path or ():
        values = _merge(values, read_toml(one))
    for override in overrides:
        _apply_override(values, override)
    return build(cls, values)


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of dataclass `cls` from plain values; unknown keys and wrong types raise ConfigError."""
    import msgspec  # here, not above: it costs 0.1 s, and most commands read no config

    _check_keys(cls, values, "")
    try:
        return msgspec.convert(values, cls, strict=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{cls.__module__}.{cls.__qualname__}: {error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """Plain values of a config dataclass, nested ones included; `build` reads them back."""
    return dataclasses.asdict(config)


def to_toml(config: Any) -> str:
    """The whole config as TOML; `load` reads it back to an equal one."""
    import tomli_w

    return tomli_w.dumps(_without_none(to_dict(config)))


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ; a key with None is one that is not there, tuples are lists."""
    found = []
    for key in sorted(set(one) | set(other)):
        left, right = (_plain(values.get(key)) for values in (one, other))
        if isinstance(left, Mapping) or isinstance(right, Mapping):
            found += differences(left or {}, right or {}, f"{prefix}{key}.")
        elif left != right:
            found.append(prefix + key)
    return found


def read_toml(path: Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A TOML file as a dict, with `extends` resolved."""
    try:
        path = path.resolve()
        if path in _seen:
            raise ConfigError(f"{path}: extends itself through {_seen[-1]}")
        values = tomllib.loads(files.read_text(path, most=_MOST_BYTES))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file") from None
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also a NUL in the name
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    base = values.pop("extends", None)
    if not isinstance(base, str | None) or len(_seen) >= _LONGEST_CHAIN:
        raise ConfigError(f"{path}: extends = {base!r:.200} is no path, or the chain of files is endless")
    return _merge(read_toml(path.parent / base, (*_seen, path)), values) if base else values


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if value is not None}
    return {key: _without_none(value) if isinstance(value, Mapping) else _plain(value) for key, value in found.items()}


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_tables else value
    return merged


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"{override!r}: an override is key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, name = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{override!r}: {table} is a value, not a table")
    values[name] = value


def _check_keys(cls: Any, values: Mapping[str, Any], prefix: str) -> None:
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(sorted(hints))
        raise ConfigError(f"unknown key {prefix}{unknown[0]} (known here: {known})")
    for key, value in values.items():
        nested = _dataclass_in(hints[key])
        if nested and isinstance(value, Mapping):
            _check_keys(nested, value, f"{prefix}{key}.")


def _dataclass_in(hint: Any) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)
