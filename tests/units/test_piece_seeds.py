"""Seeds of the unigram model equal a count of all strings; what names their file leaves the model."""

import io
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.units import Units
from speechssl.units.piece_seeds import seeds, without_seed_file
from speechssl.units.piece_training import train
from speechssl.units.pieces import characters


def text(*ids: int) -> str:
    return characters(np.array(ids, np.int64))


def test_by_hand() -> None:
    """AB comes three times, before A, C and D; ABC twice, at an end and before D; BC as often as ABC, in it.

    A, B, C alone are no seeds of ours. BCD comes once.
    """
    a, b, c, d = range(4)
    found = dict(seeds([text(a, b, a, b, c), text(a, b, c, d)], 4))
    assert found == {text(a, b): 3, text(a, b, c): 2, text(b, c): 2}
    assert [len(piece) for piece, _ in seeds([text(a, b, a, b, c), text(a, b, c, d)], 4)] == [2, 3, 2]
    assert list(seeds([text(a, b, a, b, c), text(a, b, c, d)], 4, most=1)) == [(text(a, b), 3)]
    assert list(seeds([text(a), "", text(b)], 4)) == []


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=6), longest=st.integers(1, 6))
def test_they_equal_a_slow_count(rows: list[list[int]], longest: int) -> None:
    counts: Counter[tuple[int, ...]] = Counter()
    followers: dict[tuple[int, ...], set] = defaultdict(set)
    for number, row in enumerate(rows):
        for start in range(len(row)):
            for end in range(start + 1, len(row) + 1):
                piece = tuple(row[start:end])
                counts[piece] += 1
                followers[piece].add(row[end] if end < len(row) else ("end", number))
    wanted = {text(*piece): count for piece, count in counts.items()
              if 2 <= len(piece) <= longest and count > 1 and len(followers[piece]) > 1}  # fmt: skip
    assert dict(seeds([text(*row) for row in rows], longest)) == wanted


def test_strings_that_branch_inside_a_character_are_found() -> None:
    """sentencepiece 0.2.3 by itself loses most of these words, whose characters share their first bytes."""
    random = np.random.default_rng(0)
    words = [random.permutation(20)[:4] for _ in range(12)]
    rows = [np.concatenate([words[i] for i in random.integers(0, 12, 450)]) for _ in range(2)]
    found = train([Units(row, np.ones_like(row), 50.0, 20) for row in rows], num_pieces=33, num_units=20, rate_hz=50.0,
                  kind="unigram", longest=4)  # fmt: skip
    pieces = {tuple(found.spelling(piece).tolist()) for piece in range(1, 33)}
    assert {tuple(word.tolist()) for word in words} <= pieces


def trained(path: Path) -> bytes:
    path.parent.mkdir()
    path.write_text(f"{text(0, 1)}\t3\n", encoding="utf-8")
    data = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text(0, 1, 2)] * 9), model_writer=data, vocab_size=5, model_type="unigram", unk_id=0,
        bos_id=-1, eos_id=-1, pad_id=-1, minloglevel=2, seed_sentencepieces_file=str(path), add_dummy_prefix=False,
    )  # fmt: skip
    return data.getvalue()


def test_a_model_does_not_tell_where_its_seeds_were(tmp_path: Path) -> None:
    one, other = trained(tmp_path / "one" / "seeds"), trained(tmp_path / "another folder" / "seeds")
    assert b"seeds" in one and one != other
    assert without_seed_file(one) == without_seed_file(other) and b"seeds" not in without_seed_file(one)
    before, after = (sentencepiece.SentencePieceProcessor(model_proto=x) for x in (one, without_seed_file(one)))
    assert [(before.id_to_piece(i), before.get_score(i)) for i in range(5)] == [
        (after.id_to_piece(i), after.get_score(i)) for i in range(5)
    ]
    assert before.encode(text(0, 1, 2, 1)) == after.encode(text(0, 1, 2, 1))
    assert without_seed_file(without_seed_file(one)) == without_seed_file(one)
