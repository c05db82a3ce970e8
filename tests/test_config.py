"""Configs are strict: a misspelt or mistyped setting is an error that names it."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from speechssl import config
from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0


@dataclass(frozen=True)
class Outer:
    size: int
    name: str = "x"
    sizes: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)
    extra: Inner | None = None


def test_file_extends_base_and_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("size = 1\nname = 'base'\n[inner]\nrate = 2.5\n")
    (tmp_path / "top.toml").write_text("extends = 'base.toml'\nsize = 2\nsizes = [1, 2]\n")
    got = config.load(Outer, tmp_path / "top.toml", ["inner.rate=3", "name=plain words"])
    assert got == Outer(2, "plain words", (1, 2), Inner(3.0))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"size": 1, "n_cluster": 5}, "n_cluster"),
        ({"size": 1, "inner": {"rat": 5}}, "inner.rat"),
        ({"size": 1, "extra": {"rat": 5}}, "extra.rat"),
        ({"size": "7"}, "size"),
        ({"size": 1, "inner": {"rate": "fast"}}, "inner.rate"),
        ({}, "size"),
    ],
)
def test_wrong_key_or_type_is_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        config.build(Outer, values)


def test_round_trip() -> None:
    value = Outer(3, sizes=(4, 5), extra=Inner(9.0))
    assert config.build(Outer, config.to_dict(value)) == value


@pytest.mark.parametrize("text", ["size = ", "extends = 'self.toml'"])
def test_broken_files_are_config_errors(tmp_path: Path, text: str) -> None:
    (tmp_path / "self.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"self\.toml"):
        config.load(Outer, tmp_path / "self.toml")
    with pytest.raises(ConfigError, match="no such"):
        config.load(Outer, tmp_path / "none.toml")
