"""Text to numbers and back."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.decoders import vocabulary
from speechssl.decoders.vocabulary import BLANK, Vocabulary, of_characters, of_phones, of_pieces, train_pieces
from speechssl.errors import CheckpointError, DataError

WORDS = ["wa ámitúúngá obia", "itsωώ s éléngé", "poo yá bísí"]


def test_characters_of_texts_are_numbered_by_code_point() -> None:
    found = of_characters(["ba", "á c"])
    assert found.symbols == (BLANK, "|", "a", "b", "c", "á")
    assert found.encode("cab b") == [4, 2, 3, 1, 3]
    assert found.decode([4, 2, 3, 1, 3, 0]) == "cab b"


@given(st.lists(st.text(alphabet="abcáωώ έé\u0301\t", max_size=12), max_size=4))
def test_every_text_it_was_made_of_comes_back_composed_and_with_single_spaces(texts: list[str]) -> None:
    found = of_characters(texts)
    for text in texts:
        ids = found.encode(text)
        assert found.decode(ids) == " ".join(unicodedata.normalize("NFC", text).split())
        assert found.blank not in ids


def test_decomposed_diacritics_are_the_composed_ones() -> None:
    found = of_characters(WORDS)
    assert found.encode(unicodedata.normalize("NFD", WORDS[0])) == found.encode(WORDS[0])


def test_what_is_not_in_the_vocabulary_is_named() -> None:
    found = of_characters(WORDS)
    assert found.unknown("xoqox") == ["x", "q"]
    with pytest.raises(DataError, match=r"'x' \(U\+0078\), 'q' \(U\+0071\)"):
        found.encode("xoqox")
    with pytest.raises(DataError, match="U\\+007C"):
        of_characters(["a"], word_boundary="_").encode("a|")


def test_the_blank_and_silent_symbols_cannot_be_spelled_and_are_not_written() -> None:
    found = Vocabulary(("<pad>", "<s>", "|", "a", "#"), silent=("<s>", "#"))
    assert found.decode([1, 3, 0, 2, 4, 2, 3, 1]) == "a a"
    assert found.unknown("a#") == ["#"]
    assert Vocabulary(("*", "|", "a")).unknown("*a") == ["*"]


def test_a_text_that_holds_the_boundary_is_refused() -> None:
    with pytest.raises(DataError, match="stands between words"):
        of_characters(["a|b"])


def test_case_is_part_of_the_spelling() -> None:
    found = of_characters(["Ab"], case="upper")
    assert found.symbols == (BLANK, "|", "A", "B") and found.encode("aB") == [2, 3]


def test_phones_are_separated_by_spaces() -> None:
    found = of_phones(["tʃ a", "a b"])
    assert found.symbols == (BLANK, "a", "b", "tʃ")
    assert found.decode(found.encode("tʃ a b a")) == "tʃ a b a"
    with pytest.raises(DataError, match="'ts'"):
        found.encode("ts a")


def test_pieces_of_sentencepiece_come_back(tmp_path: Path) -> None:
    found = train_pieces(WORDS * 20, 40, algorithm="bpe")
    assert len(found) == 41 and found.symbols[1] == "<unk>" and "<unk>" in found.silent
    for text in WORDS:
        assert found.decode(found.encode(text)) == text
    with pytest.raises(DataError, match="'q'"):
        found.encode("qa")
    found.save(tmp_path)
    again = vocabulary.load(tmp_path)
    assert again == found and again.encode(WORDS[1]) == found.encode(WORDS[1])
    assert of_pieces(found.pieces or b"") == found
    (tmp_path / "vocabulary.model").write_bytes((found.pieces or b"") + b"\0")
    with pytest.raises(CheckpointError, match="changed"):
        vocabulary.load(tmp_path)


def test_too_little_text_for_the_pieces_is_said() -> None:
    with pytest.raises(DataError, match="500 pieces cannot be learned"):
        train_pieces(WORDS, 500)


def test_saved_and_read_it_is_the_same_and_a_change_is_seen(tmp_path: Path) -> None:
    found = of_characters(WORDS)
    found.save(tmp_path)
    assert vocabulary.load(tmp_path) == found
    path = tmp_path / "vocabulary.json"
    raw = json.loads(path.read_text())
    for change in ({"symbols": raw["symbols"][::-1]}, {"blank": 1}, {"case": "lower"}, {"format": "x"}, {"kind": 3},
                   {"symbols": "ab"}, {"more": 1}, {"blank": 99}, {"symbols": ["a", "a"]}):  # fmt: skip
        path.write_text(json.dumps(raw | change))
        with pytest.raises(CheckpointError):
            vocabulary.load(tmp_path)
    path.write_text("[]")
    with pytest.raises(CheckpointError):
        vocabulary.load(tmp_path)


@pytest.mark.parametrize("symbols", [("a", "a"), ("a", ""), ("b",)])
def test_an_ambiguous_vocabulary_is_refused(symbols: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        Vocabulary(symbols)
