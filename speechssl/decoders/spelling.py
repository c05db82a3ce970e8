"""How the symbols of a recogniser make up words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from speechssl.errors import ConfigError


class Symbols(Protocol):
    """What `spelling_of` asks of a recogniser's vocabulary."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        ...

    @property
    def blank(self) -> int:
        """Its number."""
        ...

    @property
    def word_boundary(self) -> str | None:
        """The symbol between words."""
        ...

    @property
    def kind(self) -> str:
        """characters, pieces (words begin with ▁) or phones."""
        ...

    @property
    def silent(self) -> tuple[str, ...]:
        """Symbols that are never written."""
        ...


@dataclass(frozen=True)
class Spelling:
    """boundary: a symbol between words; word_start: words begin where a symbol begins so (▁ of sentencepiece).

    Neither: every symbol is a word of its own, as phones are. silent: symbols that are never written.
    """

    symbols: tuple[str, ...]
    blank: int = 0
    boundary: str | None = None
    word_start: str | None = None
    silent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.blank < len(self.symbols):
            raise ConfigError(f"blank={self.blank} is none of {len(self.symbols)} symbols")
        if self.boundary is not None and self.boundary not in self.symbols:
            raise ConfigError(f"the word boundary {self.boundary!r} is none of the symbols")
        if self.boundary is not None and self.word_start is not None:
            raise ConfigError("words have a boundary between them or a mark where they begin, not both")

    @property
    def boundary_id(self) -> int | None:
        """The number of the symbol between words."""
        return None if self.boundary is None else self.symbols.index(self.boundary)

    def words(self, ids: Sequence[int]) -> list[tuple[str, int, int]]:
        """Text of each word of symbols [U], the place of its first symbol, and one past that of its last."""
        if self.boundary is None and self.word_start is None:
            return [(self.join([i]), place, place + 1) for place, i in enumerate(ids) if self.join([i])]
        parts: list[list[int]] = [[]]  # places
        for place, i in enumerate(ids):
            if self.boundary is not None and self.symbols[i] == self.boundary:
                parts.append([])
                continue
            if self.word_start is not None and self.symbols[i].startswith(self.word_start):
                parts.append([])
            parts[-1].append(place)
        named = ((self.join([ids[p] for p in part]), part) for part in parts if part)
        return [(text, part[0], part[-1] + 1) for text, part in named if text]

    def text(self, ids: Sequence[int]) -> str:
        """Words with single spaces between them."""
        return " ".join(text for text, _, _ in self.words(ids))

    def join(self, ids: Sequence[int]) -> str:
        """The text of one word."""
        symbols = (self.symbols[i] for i in ids if self.symbols[i] not in self.silent)
        return "".join(s.removeprefix(self.word_start) if self.word_start else s for s in symbols)


def spelling_of(vocabulary: Symbols) -> Spelling:
    """Of a recogniser's vocabulary. Characters without a word boundary: words are between spaces, if there are any."""
    boundary = vocabulary.word_boundary
    if vocabulary.kind == "characters" and boundary is None and " " in vocabulary.symbols:
        boundary = " "
    pieces = vocabulary.kind == "pieces"
    return Spelling(vocabulary.symbols, vocabulary.blank, None if pieces else boundary, "▁" if pieces else None,
                    vocabulary.silent)  # fmt: skip
