"""Decoders as a whole: texts, words, times, n best, chunks, languages, what is refused."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.decoders.arpa import write_arpa
from speechssl.decoders.decoder import Decoder, Settings, load_decoder
from speechssl.decoders.greedy import best_path
from speechssl.decoders.lexicon import Lexicon
from speechssl.decoders.ngram_fit import fit_ngrams
from speechssl.decoders.spelling import Spelling, spelling_of
from speechssl.errors import ConfigError
from tests.decoders.slow import all_texts, random_log_probs

LETTERS = Spelling(("<blank>", "|", "a", "b"), boundary="|")
PIECES = Spelling(("<blank>", "▁", "▁a", "b", "<unk>"), word_start="▁", silent=("<unk>",))
PHONES = Spelling(("<blank>", "aː", "b"))
EXACT = Settings(beam=5000, beam_threshold=np.inf, symbol_threshold=np.inf)


def spoken(text: str, *, sure: float = 0.9, symbols: str = "-|ab") -> np.ndarray:
    """Log probabilities of an alignment written with - for blank, `sure` of each symbol."""
    rest = (1 - sure) / (len(symbols) - 1)
    return np.log(np.where(np.eye(len(symbols))[[symbols.index(c) for c in text]] > 0, sure, rest))


def test_greedy_by_hand() -> None:
    """a a - a | b - in frames of 20 ms: `aa b`, the first word in frames 0 to 3, the second in frame 5."""
    found = Decoder(LETTERS).decode(torch.from_numpy(spoken("aa-a|b-")), frame_s=0.02)
    assert len(found) == 1 and found[0].text == "aa b" and found[0].symbols == (2, 2, 1, 3)
    assert found[0].score == found[0].acoustic == pytest.approx(7 * np.log(0.9)) and found[0].posterior == 1
    assert [(w.text, w.start_s, w.end_s) for w in found[0].words] == [
        ("aa", 0, pytest.approx(0.08)),
        ("b", pytest.approx(0.1), pytest.approx(0.12)),
    ]
    assert all(0.5 < word.confidence < 0.95 for word in found[0].words)


def test_a_word_is_as_sure_as_its_symbols_are() -> None:
    log_probs = spoken("a|b")
    log_probs[2] = np.log([0.3, 0.1, 0.1, 0.5])
    one, other = Decoder(LETTERS).decode(log_probs, frame_s=1.0)[0].words
    assert one.confidence > 0.75 and 0.4 < other.confidence <= 0.5


@pytest.mark.parametrize(
    ("spelling", "ids", "expected"),
    [
        (LETTERS, [1, 2, 3, 1, 1, 3, 1], [("ab", 1, 3), ("b", 5, 6)]),
        (PIECES, [2, 3, 1, 3, 3, 4, 2], [("ab", 0, 2), ("bb", 2, 6), ("a", 6, 7)]),
        (PIECES, [3, 4, 1, 2], [("b", 0, 2), ("a", 3, 4)]),
        (PHONES, [1, 2, 1], [("aː", 0, 1), ("b", 1, 2), ("aː", 2, 3)]),
        (LETTERS, [], []),
    ],
)
def test_symbols_make_words(spelling: Spelling, ids: list[int], expected: list[tuple[str, int, int]]) -> None:
    assert spelling.words(ids) == expected and spelling.text(ids) == " ".join(word for word, _, _ in expected)


@dataclass(frozen=True)
class Vocabulary:
    symbols: tuple[str, ...]
    kind: str
    word_boundary: str | None
    blank: int = 0
    silent: tuple[str, ...] = ()


def test_vocabularies_of_recognisers_say_how_words_are_spelled() -> None:
    assert spelling_of(Vocabulary(LETTERS.symbols, "characters", "|")) == LETTERS
    assert spelling_of(Vocabulary(("<blank>", " ", "a"), "characters", None)).boundary == " "
    assert spelling_of(Vocabulary(PIECES.symbols, "pieces", "|", silent=("<unk>",))) == PIECES
    assert spelling_of(Vocabulary(PHONES.symbols, "phones", None)) == PHONES
    with_words = spelling_of(Vocabulary((*PHONES.symbols, "|"), "phones", "|"))
    assert with_words.words([1, 2, 3, 2]) == [("aːb", 0, 2), ("b", 3, 4)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 5))
def test_the_n_best_are_the_texts_with_the_most_of_the_probability(seed: int, num_frames: int) -> None:
    """Posteriors add up what texts that read alike have: `a`, `|a`, `a|`."""
    log_probs = random_log_probs(seed, num_frames, 4)
    found = Decoder(LETTERS, EXACT).decode(log_probs, num=5000)
    shares: dict[str, float] = {}
    best: dict[str, float] = {}
    for ids, score in all_texts(log_probs, 0).items():
        text = LETTERS.text(ids)
        shares[text] = shares.get(text, 0) + float(np.exp(score))
        best[text] = max(best.get(text, -np.inf), score)
    assert {h.text: pytest.approx(h.posterior, abs=1e-9) for h in found} == shares
    assert [h.score for h in found] == [pytest.approx(score) for score in sorted(best.values(), reverse=True)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 6), max_size=4), st.sampled_from([1, 4]))
def test_chunks_give_what_the_whole_gives(seed: int, sizes: list[int], beam: int) -> None:
    log_probs = random_log_probs(seed, sum(sizes) + 2, 4)
    decoder = Decoder(LETTERS, Settings(beam=beam))
    stream = decoder.stream()
    for chunk in np.split(log_probs, np.cumsum(sizes)):
        stream.feed(chunk)
    assert stream.finish(num=3, frame_s=0.02) == decoder.decode(log_probs, num=3, frame_s=0.02)
    assert stream.partial() == decoder.decode(log_probs)[0].text


def test_a_language_model_of_words_changes_what_is_heard(tmp_path: Path) -> None:
    """Heard is `ab ab`, nearly as well `ab b`; the text the model knows is `ab b`."""
    log_probs = spoken("ab|ab")
    log_probs[3] = np.log([0.40, 0.02, 0.53, 0.05])
    model = fit_ngrams([["ab", "b"]] * 5 + [["ab"]], order=2).model
    write_arpa(tmp_path / "lm.arpa", model)
    assert Decoder(LETTERS).decode(log_probs)[0].text == "ab ab"
    decoder = load_decoder(LETTERS, Settings(beam=20, lm_weight=1.0), lm=tmp_path / "lm.arpa")
    found = decoder.decode(log_probs, num=2, frame_s=0.02)
    assert [h.text for h in found] == ["ab b", "ab ab"] and [w.text for w in found[0].words] == ["ab", "b"]
    assert found[0].score == pytest.approx(found[0].acoustic + found[0].language)
    without = load_decoder(LETTERS, Settings(beam=20, lm_weight=0.0), lm=tmp_path / "lm.arpa")
    assert without.decode(log_probs)[0].text == "ab ab"


def test_a_language_model_of_characters_changes_what_is_heard() -> None:
    log_probs = spoken("ab|ab")
    log_probs[3] = np.log([0.40, 0.02, 0.53, 0.05])
    model = fit_ngrams([list("ab|b")] * 5, order=4).model
    assert Decoder(LETTERS, Settings(beam=20, lm_weight=1.0), model=model).decode(log_probs)[0].text == "ab b"


def test_words_outside_the_lexicon_are_written_as_they_are_spelled() -> None:
    lexicon = Lexicon([("ABBA", (2, 3, 3, 2))], num_symbols=4)
    log_probs = spoken("ab-ba|ba-")
    assert Decoder(LETTERS, Settings(beam=9, unknown=-1.0), lexicon=lexicon).decode(log_probs)[0].text == "ABBA ba"
    strict = Decoder(LETTERS, Settings(beam=99, unknown=None), lexicon=lexicon).decode(log_probs, num=9)
    assert {word for found in strict for word in found.text.split()} <= {"ABBA"}


def test_phones_become_words_of_a_lexicon() -> None:
    lexicon = Lexicon([("ab", (1, 2)), ("a", (1,))], num_symbols=3)
    log_probs = spoken("ab-a", symbols="-ab")
    found = Decoder(PHONES, Settings(beam=50), lexicon=lexicon).decode(log_probs, frame_s=0.5)
    assert found[0].text == "ab a" and [(w.start_s, w.end_s) for w in found[0].words] == [(0, 1), (1.5, 2)]


def test_nothing_said_and_nothing_that_fits() -> None:
    for beam in (1, 5):
        found = Decoder(LETTERS, Settings(beam=beam)).decode(np.zeros((0, 4)), frame_s=0.02)
        assert [(h.text, h.words, h.score) for h in found] == [("", (), 0)]
    with np.errstate(divide="ignore"):
        only_a = np.log([[0.0, 1.0, 0.0]])
    assert Decoder(PHONES, EXACT, lexicon=Lexicon([("b", (2,))], num_symbols=3)).decode(only_a) == []


def test_equally_likely_symbols_and_runs_in_greedy() -> None:
    path = best_path(np.zeros((3, 2)), blank=1)
    assert path.symbols.tolist() == [0] and (path.start[0], path.end[0]) == (0, 3)


def test_what_makes_no_sense_is_refused() -> None:
    model = fit_ngrams([["words", "here"]], order=1).model
    cases = [
        (lambda: Decoder(LETTERS, model=model), "no effect on greedy"),
        (lambda: Decoder(PHONES, Settings(beam=2), model=model), "give a lexicon"),
        (lambda: Settings(beam=0), "must be positive"),
        (lambda: Settings(lm_weight=-1), "must be positive"),
        (lambda: Settings(unknown=1.0), "costs something"),
        (lambda: Spelling(("a",), blank=1), "none of 1 symbols"),
        (lambda: Spelling(("a",), boundary="|"), "none of the symbols"),
        (lambda: Spelling(("a", "|"), boundary="|", word_start="▁"), "not both"),
        (lambda: Decoder(LETTERS).decode(np.zeros((3, 5))), r"must be \[T, 4\], found \[3, 5\]"),
        (lambda: Decoder(LETTERS).decode(np.ones((3, 4))), "log_softmax"),
        (lambda: Decoder(LETTERS).decode(np.full((3, 4), np.nan)), "no nan"),
        (lambda: Decoder(LETTERS).decode(np.zeros((3, 4)), num=0), "one text at least"),
    ]
    for work, message in cases:
        with pytest.raises(ConfigError, match=message):
            work()
