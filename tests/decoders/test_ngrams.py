"""n-gram models: by hand, against KenLM's lmplz, as the definition says, read and written."""

import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.decoders.arpa import read_arpa, write_arpa
from speechssl.decoders.ngram import NgramModel
from speechssl.decoders.ngram_fit import fit_ngrams
from speechssl.errors import DataError
from tests.decoders.slow import backed_off, entries
from tests.decoders.slow import sentence as slow_sentence
from tests.decoders.toy_text import sentences

GOLDEN = Path(__file__).parent / "golden"
TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=8).filter(any)


def test_a_bigram_model_by_hand() -> None:
    """Of `a b` and `a`. Too little text, so discounts are 0.5, 1, 1.5 for counts of 1, 2, 3 and more.

    Before a stands <s> only, before b only a, before </s> both: counts 1, 1, 2 of 4; taken 0.5 + 0.5 + 1, half of it,
    for <unk>, a, b, </s> alike: p(a) = 0.5/4 + 0.5/4. After a: b and </s>, once each: taken 1 of 2.
    """
    fit = fit_ngrams([["a", "b"], ["a"]], order=2)
    assert fit.fallbacks == (1, 2) and (fit.sentences, fit.tokens) == (2, 5)
    found = entries(fit.model)
    p = {gram: math.exp(logp) for gram, (logp, _) in found.items()}
    assert p["<unk>",] == pytest.approx(1 / 8) and p["a",] == p["b",] == pytest.approx(1 / 4)
    assert p["</s>",] == pytest.approx(1 / 4 + 1 / 8)
    assert math.exp(found["a",][1]) == pytest.approx(1 / 2) == math.exp(found["b",][1])
    assert math.exp(found["<s>",][1]) == pytest.approx(1 / 2)  # <s> a twice: 1 of 2 taken
    assert p["<s>", "a"] == pytest.approx(1 / 2 + 1 / 2 * 1 / 4)
    assert p["a", "b"] == pytest.approx(0.5 / 2 + 1 / 2 * 1 / 4)
    assert p["a", "</s>"] == pytest.approx(0.5 / 2 + 1 / 2 * 3 / 8)
    assert p["b", "</s>"] == pytest.approx(0.5 / 1 + 1 / 2 * 3 / 8)
    expected = p["<s>", "a"] * math.exp(found["a",][1]) * p["a",] * math.exp(found["a",][1]) * p["<unk>",]
    expected *= p["</s>",]  # <unk> has no weight
    assert math.exp(fit.model.sentence(["a", "a", "x"])) == pytest.approx(expected)


@pytest.mark.parametrize("count", [5, 40])
def test_models_equal_those_of_lmplz(count: int) -> None:
    """golden: lmplz of kenlm 0.3.0, -o 3 --discount_fallback, of the same text."""
    expected, found = (entries(m) for m in (read_arpa(GOLDEN / f"lmplz_{count}.arpa"),
                                            fit_ngrams(sentences(count), order=3).model))  # fmt: skip
    assert set(found) == set(expected)
    for gram, (logp, backoff) in expected.items():
        if gram != ("<s>",):  # never asked
            assert found[gram][0] == pytest.approx(logp, abs=2e-6), gram
        if gram[-1] != "</s>" and gram != ("<unk>",):
            assert found[gram][1] == pytest.approx(backoff, abs=2e-6), gram


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.integers(1, 4))
def test_probabilities_after_every_history_sum_to_one(text: list[list[str]], order: int) -> None:
    model = fit_ngrams(text, order=order).model
    words = [word for word in model.words if word != "<s>"]
    for length in range(min(3, order)):
        for history in itertools.product(["<s>", "a", "b", "new"], repeat=length):
            total = math.fsum(math.exp(backed_off(model, history, word)) for word in words)
            assert total == pytest.approx(1, abs=1e-9), history


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.integers(1, 4), st.lists(st.sampled_from("abcx"), max_size=6))
def test_sentences_have_the_score_of_the_definition(text: list[list[str]], order: int, said: list[str]) -> None:
    model = fit_ngrams(text, order=order).model
    assert model.sentence(said) == pytest.approx(slow_sentence(model, said), abs=1e-9)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_what_was_written_is_read(name: str, tmp_path: Path) -> None:
    model = fit_ngrams(sentences(20), order=3).model
    write_arpa(tmp_path / name, model)
    if name.endswith(".gz"):
        assert gzip.decompress((tmp_path / name).read_bytes()).startswith(b"\\data\\\nngram 1=")
    again = entries(read_arpa(tmp_path / name))
    assert again.keys() == entries(model).keys()
    assert all(again[gram] == pytest.approx(values, abs=1e-6) for gram, values in entries(model).items())


def test_histories_fall_back_on_the_longest_one_that_is_there(tmp_path: Path) -> None:
    """Pruned by hand: `b c` is there and `a b c` is, but `c` after `x b` falls back twice."""
    (tmp_path / "lm.arpa").write_text(
        "made by hand\n\n\\data\\\nngram 1=5\nngram 2=2\nngram 3=1\n\n\\1-grams:\n-1\ta\t-0.5\n-1\tb\t-0.25\n-1 c\n"
        "-2\t<unk>\n-1\t</s>\n\n\\2-grams:\n-0.5\ta b\t-0.125\n-0.75\tb c\n\n\\3-grams:\n-0.1 a b c\n\n\\end\\\n"
    )
    model = read_arpa(tmp_path / "lm.arpa")
    log10 = [model.sentence(words) / math.log(10) for words in (["a", "b", "c"], ["x", "b", "c"], ["a", "b", "a"])]
    assert log10[0] == pytest.approx(-1 - 0.5 - 0.1 - 1)
    assert log10[1] == pytest.approx(-2 - 1 - 0.75 - 1)
    assert log10[2] == pytest.approx(-1 - 0.5 + (-0.125 - 0.25 - 1) + (-0.5 - 1))


def test_a_model_without_unknown_words_gets_a_very_rare_one(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text("\\data\\\nngram 1=1\n\\1-grams:\n-0.5\ta\n\\end\\\n")
    model = read_arpa(tmp_path / "lm.arpa")
    assert model.sentence(["a", "b"]) / math.log(10) == pytest.approx(-100.5)


GOOD = "\\data\\\nngram 1=2\nngram 2=1\n\\1-grams:\n-1\ta\t-1\n-1\t<unk>\n\\2-grams:\n-1\ta a\n\\end\\\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", "ends after line 9, where .data. was due"),
        ("ngram 2=1", "ngram 3=1", "lm.arpa:3: expected `ngram 2=COUNT`, found 'ngram 3=1'"),
        ("ngram 1=2", "ngram 1=99999999999", "lm.arpa:2: more than"),
        ("ngram 1=2\nngram 2=1\n", "", "lm.arpa:2: a language model without unigrams"),
        ("ngram 1=2", "ngram 1=3", "lm.arpa:7: expected a 1-gram with its log probability"),
        ("ngram 1=2", "ngram 1=1", "lm.arpa:6: expected .2-grams:, found '-1.t<unk>'"),
        ("a a", "a b", "lm.arpa:8: 'b' is not among the unigrams"),
        ("-1\ta a", "x\ta a", "lm.arpa:8: expected numbers"),
        ("-1\ta a", "nan\ta a", "lm.arpa:8: no log probability"),
        ("-1\ta a", "1\ta a", "lm.arpa:8: no log probability"),
        ("-1\ta a", "-1\ta a\t-1", "lm.arpa:8: expected a 2-gram"),
        ("-1\t<unk>", "-1\ta", "each of its words once"),
        ("\\end\\\n", "", "ends after line 8, where .end. was due"),
    ],
)
def test_damaged_models_are_refused_with_the_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GOOD)
    assert read_arpa(path).order == 2
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_arpa(path)


def test_ngrams_without_their_beginning_and_twice_are_refused() -> None:
    unigrams = (np.array([[0], [1]]), np.zeros(2), np.zeros(2))
    bigrams = (np.array([[0, 1], [0, 1]]), np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="2-gram of the language model stands there twice"):
        NgramModel(["a", "<unk>"], [unigrams, bigrams])
    trigrams = (np.array([[1, 0, 1]]), np.zeros(1), np.zeros(1))
    with pytest.raises(DataError, match="'<unk> a <unk>', but not the 2-gram it begins with"):
        NgramModel(["a", "<unk>"], [unigrams, (bigrams[0][:1], np.zeros(1), np.zeros(1)), trigrams])


@pytest.mark.parametrize(
    ("text", "order", "message"),
    [([], 2, "no word"), ([[]], 2, "no word"), ([["a", "<s>"]], 2, "<s> stands in the text"), ([["a"]], 0, "order")],
)
def test_texts_that_teach_nothing_are_refused(text: list[list[str]], order: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_ngrams(text, order=order)
