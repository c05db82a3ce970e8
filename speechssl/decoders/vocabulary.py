"""What a recogniser can write: its output symbols, blank among them, and the way from text to their numbers and back.

On disk `vocabulary.json`, and `vocabulary.model` beside it where symbols are sentencepiece's. Text is brought to the
composed form of Unicode (NFC) and its white space to single spaces before anything else; letters keep their case unless
`case` says otherwise. Nothing else is normalised: what a corpus should do about punctuation or digits is its recipe's.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from speechssl import files
from speechssl.errors import CheckpointError, ConfigError, DataError

FORMAT = "speechssl-vocabulary-1"
FILE, PIECES_FILE = "vocabulary.json", "vocabulary.model"
BLANK = "<blank>"
SPACE = "▁"  # sentencepiece writes it where a word begins
Kind = Literal["characters", "pieces", "phones"]
Case = Literal["keep", "lower", "upper"]
_MOST_JSON, _MOST_PIECES = 16 << 20, 64 << 20


@dataclass(frozen=True)
class Vocabulary:
    """Symbols of one recogniser, in the order of its outputs.

    characters: a symbol per character, `word_boundary` between words. pieces: sentencepiece's, a word begins with ▁.
    phones: symbols with spaces between them; `word_boundary` where the text itself has it.
    """

    symbols: tuple[str, ...]
    blank: int = 0  # CTC's; never part of a text
    word_boundary: str | None = "|"
    kind: Kind = "characters"
    case: Case = "keep"  # what is done to a text's letters
    silent: tuple[str, ...] = ()  # symbols that are never written, such as <s> and <unk> of foreign vocabularies
    pieces: bytes | None = field(default=None, repr=False)  # sentencepiece's model, needed to encode pieces

    def __post_init__(self) -> None:
        """Refuse what is ambiguous."""
        if len(set(self.symbols)) != len(self.symbols) or "" in self.symbols:
            twice = sorted({symbol for symbol in self.symbols if self.symbols.count(symbol) > 1})
            raise DataError(f"symbols must be different and not empty, found {twice[:3] or ['']}")
        if not 0 <= self.blank < len(self.symbols):
            raise DataError(f"blank={self.blank} is none of {len(self.symbols)} symbols")
        named = {*self.silent, *([self.word_boundary] if self.word_boundary else [])}
        if missing := sorted(named - set(self.symbols)):
            raise DataError(f"{missing[0]!r} is no symbol of the vocabulary")

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def sha256(self) -> str:
        """Identity: over everything that decides what numbers a text has."""
        return hashlib.sha256(json.dumps(self._plain(), sort_keys=True).encode()).hexdigest()

    def normalize(self, text: str) -> str:
        """The text as this vocabulary spells it: NFC, case, single spaces."""
        text = unicodedata.normalize("NFC", text)
        if self.case != "keep":
            text = text.lower() if self.case == "lower" else text.upper()
        return " ".join(text.split())

    def unknown(self, text: str) -> list[str]:
        """Characters (phones, pieces) of a text that are no symbols, each once, in their order."""
        return list(dict.fromkeys(symbol for symbol in self._spell(text) if symbol not in self._numbers))

    def encode(self, text: str) -> list[int]:
        """Numbers of a text's symbols. Raises DataError that names what is not in the vocabulary."""
        if unknown := self.unknown(text):
            shown = ", ".join(_shown(symbol) for symbol in unknown[:5])
            raise DataError(f"not in the vocabulary: {shown} (in {text[:60]!r})")
        return [self._numbers[symbol] for symbol in self._spell(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of numbers as `encode` gives them; CTC's repetitions are taken out before, blanks are nothing."""
        symbols = [self.symbols[i] for i in ids if self._spoken[i]]
        if self.kind == "phones":
            return " ".join(symbols)
        boundary = SPACE if self.kind == "pieces" else self.word_boundary
        text = "".join(symbols)
        return " ".join((text.replace(boundary, " ") if boundary else text).split())

    def save(self, folder: Path) -> None:
        """Write vocabulary.json (and vocabulary.model) into a folder that is there."""
        if self.pieces is not None:
            (folder / PIECES_FILE).write_bytes(self.pieces)
        text = json.dumps({"format": FORMAT, **self._plain(), "sha256": self.sha256}, indent=1, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Of symbols that may stand in a text."""
        return {symbol: i for i, symbol in enumerate(self.symbols) if self._spoken[i]}

    @cached_property
    def _spoken(self) -> tuple[bool, ...]:
        return tuple(i != self.blank and symbol not in self.silent for i, symbol in enumerate(self.symbols))

    @cached_property
    def _processor(self) -> Any:
        if self.pieces is None:
            raise ConfigError("pieces without sentencepiece's model can be decoded, not encoded: give vocabulary.model")
        try:
            return _sentencepiece().SentencePieceProcessor(model_proto=self.pieces)
        except RuntimeError as error:
            raise CheckpointError(f"{PIECES_FILE} is no model of sentencepiece: {error}") from error

    def _spell(self, text: str) -> Sequence[str]:
        text = self.normalize(text)
        if self.kind == "phones":
            return text.split()
        if self.kind == "pieces":
            return self._processor.encode(text, out_type=str)
        return list(text.replace(" ", self.word_boundary or " "))

    def _plain(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "blank": self.blank, "word_boundary": self.word_boundary, "case": self.case,
            "silent": list(self.silent), "symbols": list(self.symbols),
            "pieces": None if self.pieces is None else hashlib.sha256(self.pieces).hexdigest(),
        }  # fmt: skip


def of_characters(texts: Iterable[str], *, word_boundary: str | None = "|", case: Case = "keep") -> Vocabulary:
    """Blank, word boundary, and every character of these texts in the order of its code point.

    word_boundary None: a space is a character like others. DataError where a text holds the word boundary's character.
    """
    bare = Vocabulary((BLANK,), word_boundary=None, case=case)
    found = sorted({character for text in texts for character in bare.normalize(text)})
    if word_boundary is None:
        return Vocabulary((BLANK, *found), word_boundary=None, case=case)
    if word_boundary in found:
        raise DataError(f"a text holds {word_boundary!r}, which stands between words: choose another word_boundary")
    return Vocabulary((BLANK, word_boundary, *(c for c in found if c != " ")), word_boundary=word_boundary, case=case)


def of_phones(texts: Iterable[str], *, word_boundary: str | None = None) -> Vocabulary:
    """Blank and every phone of these texts, which have spaces between phones, in the order of code points."""
    found = sorted({phone for text in texts for phone in unicodedata.normalize("NFC", text).split()})
    return Vocabulary((BLANK, *found), word_boundary=word_boundary, kind="phones")


def of_pieces(model: bytes, *, case: Case = "keep") -> Vocabulary:
    """Blank and the pieces of a model of sentencepiece; its <unk>, <s> and </s> are silent."""
    bare = Vocabulary((BLANK,), word_boundary=None, kind="pieces", pieces=model)
    processor = bare._processor
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    silent = [p for i, p in enumerate(pieces) if processor.is_unknown(i) or processor.is_control(i)]
    return Vocabulary(
        (BLANK, *pieces), word_boundary=None, kind="pieces", case=case, silent=tuple(silent), pieces=model
    )


def train_pieces(
    texts: Iterable[str], size: int, *, algorithm: Literal["unigram", "bpe"] = "unigram", case: Case = "keep"
) -> Vocabulary:
    """`of_pieces` of a model trained on these texts, `size` pieces. DataError where there is too little text."""
    bare = Vocabulary((BLANK,), word_boundary=None, case=case)
    lines = [bare.normalize(text) for text in texts]
    model = BytesIO()
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, vocab_size=size, model_type=algorithm,
            character_coverage=1.0, normalization_rule_name="identity", num_threads=1, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise DataError(f"{size} pieces cannot be learned from {len(lines)} texts: {error}") from None
    return of_pieces(model.getvalue(), case=case)


def load(folder: Path) -> Vocabulary:
    """Read what `save` wrote. Raises CheckpointError where files are missing, too large, damaged or changed."""
    try:
        raw = files.read_json(folder / FILE, most=_MOST_JSON)
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise ValueError(f"format is not {FORMAT}")
        stated, pieces = raw.pop("sha256"), raw.pop("pieces")
        model = None if pieces is None else files.read_bytes(folder / PIECES_FILE, most=_MOST_PIECES)
        symbols, silent = (_strings(raw.pop(key)) for key in ("symbols", "silent"))
        kind, case = raw.pop("kind"), raw.pop("case")
        if kind not in ("characters", "pieces", "phones") or case not in ("keep", "lower", "upper"):
            raise ValueError(f"unknown kind {kind!r:.40} or case {case!r:.40}")
        found = Vocabulary(symbols, kind=kind, case=case, silent=silent, pieces=model, **raw)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / FILE}: no usable vocabulary: {error}") from error
    if found.sha256 != stated:
        raise CheckpointError(f"{folder / FILE}: does not match its sha256; the file was changed")
    return found


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise ConfigError("pieces need sentencepiece: pip install 'speechssl[pieces]'") from None
    return sentencepiece


def _strings(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("symbols must be a list of texts")
    return tuple(values)


def _shown(symbol: str) -> str:
    return f"{symbol!r} (U+{ord(symbol):04X})" if len(symbol) == 1 else repr(symbol)
