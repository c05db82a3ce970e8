"""Pieces: whatever units there are come back frame for frame; merges and segmentations equal slow forms."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.units import Units, piece_training
from speechssl.units.piece_card import FIRST_CHARACTER, MOST_UNITS
from speechssl.units.piece_training import train
from speechssl.units.pieces import PieceModel, Pieces

A, B, C, D = range(4)


def units(*ids: int, size: int = 4, durations: list[int] | None = None) -> Units:
    array = np.array(ids, np.int64)
    return Units(array, np.array(durations or np.ones(len(ids)), np.int64), 50.0, size)


def speech(size: int, *, utterances: int, length: int, seed: int = 0) -> list[Units]:
    """Units in which some follow others far more often than chance has it, no two alike in a row."""
    random = np.random.default_rng(seed)
    chances = random.dirichlet(np.full(size, 0.1), size)
    np.fill_diagonal(chances, 1e-6)
    steps = (chances / chances.sum(1, keepdims=True)).cumsum(1)
    made = []
    for _ in range(utterances):
        ids = [int(random.integers(size))]
        for draw in random.random(length - 1):
            ids.append(min(int(np.searchsorted(steps[ids[-1]], draw)), size - 1))
        made.append(units(*ids, size=size))
    return made


def learned(rows: list[Units], num_pieces: int, *, size: int = 4, kind: str = "bpe", **options: int) -> PieceModel:
    return train(rows, num_pieces=num_pieces, num_units=size, rate_hz=50.0, kind=kind, **options)  # type: ignore[arg-type]


@cache
def model(kind: str) -> PieceModel:
    """Of 30 units, of which the training text has 20."""
    rows = [units(*row.ids.tolist(), size=30) for row in speech(20, utterances=40, length=60)]
    return learned(rows, 90, size=30, kind=kind)


def pieces_of(found: PieceModel) -> list[tuple[int, ...]]:
    return [tuple(found.spelling(piece).tolist()) for piece in range(1, found.card.num_pieces)]


def test_the_first_merges_by_hand() -> None:
    """ABABCABD: AB stands 3 times, BA, BC, CA, BD once. With X = AB it is XXCXD, every pair once: XX is the longest, of
    XC = ABC, CX = CAB, XD = ABD the first by its units is ABC.
    """
    found = learned([units(A, B, A, B, C, A, B, D)], 7)
    assert pieces_of(found)[:2] == [(A, B), (A, B, C)]
    assert sorted(pieces_of(found)[2:]) == [(A,), (B,), (C,), (D,)]
    encoded = found.encode(units(A, B, A, B, C, A, B, D))
    assert [tuple(found.spelling(piece).tolist()) for piece in encoded.ids] == [(A, B), (A, B, C), (A, B), (D,)]
    assert encoded.lengths.tolist() == [2, 3, 2, 1]


def slow_merges(rows: list[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """Pieces in the order of their merges: the most frequent pair, of equals the shorter, then the first."""
    texts = [[(unit,) for unit in row] for row in rows]
    found: list[tuple[int, ...]] = []
    while len(found) < count:
        pairs = Counter((one, other) for text in texts for one, other in pairwise(text))
        pairs = Counter({pair: n for pair, n in pairs.items() if sum(pair, ()) not in found})
        best = min(pairs, key=lambda pair: (-pairs[pair], len(sum(pair, ())), sum(pair, ())))
        found.append(sum(best, ()))
        for text in texts:
            place = 0
            while place < len(text) - 1:
                if (text[place], text[place + 1]) == best:
                    text[place : place + 2] = [found[-1]]
                place += 1
    return found


@pytest.mark.parametrize("seed", range(4))
def test_merges_equal_a_slow_bpe(seed: int) -> None:
    rows = speech(8, utterances=12, length=40, seed=seed)
    found = learned(rows, 8 + 1 + 30, size=8)
    assert pieces_of(found)[:30] == slow_merges([tuple(row.ids.tolist()) for row in rows], 30)


def test_bpe_encodes_by_its_merges_in_their_order() -> None:
    """Again and again the adjacent pair that was merged first, the leftmost of equals."""
    found = model("bpe")
    order = {piece: rank for rank, piece in enumerate(pieces_of(found))}
    for row in speech(20, utterances=50, length=60)[40:]:  # not learned from
        parts = [(unit,) for unit in row.ids.tolist()]
        while True:
            ranks = [order.get(a + b, len(order)) for a, b in pairwise(parts)]
            if not ranks or min(ranks) == len(order):
                break
            place = ranks.index(min(ranks))
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        encoded = found.encode(units(*row.ids.tolist(), size=30))
        assert [tuple(found.spelling(piece).tolist()) for piece in encoded.ids] == parts


def test_unigram_encodes_by_the_best_of_all_segmentations() -> None:
    found = model("unigram")
    scores = {piece: found._processor.get_score(i) for i, piece in enumerate(pieces_of(found), 1)}
    for row in speech(20, utterances=50, length=60)[40:]:  # not learned from
        ids = tuple(row.ids.tolist())
        best = [0.0]
        for end in range(1, len(ids) + 1):
            best.append(max(best[start] + scores[ids[start:end]] for start in range(end) if ids[start:end] in scores))
        encoded = found.encode(units(*ids, size=30))
        assert len(encoded) < len(ids)  # or there would be nothing to find
        total = sum(scores[tuple(found.spelling(piece).tolist())] for piece in encoded.ids)
        assert total == pytest.approx(best[-1], rel=1e-5)


def test_unigram_learns_the_words_that_a_text_is_made_of() -> None:
    """ABC and DE in any order, and no room for more than these two."""
    random = np.random.default_rng(0)
    words = ((0, 1, 2), (3, 4))
    rows = [units(*[u for word in random.integers(0, 2, 30) for u in words[word]], size=5) for _ in range(30)]
    assert set(words) <= set(pieces_of(learned(rows, 8, size=5, kind="unigram", longest=3)))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 29), st.integers(1, 1000)), max_size=80))
def test_any_units_come_back(kind: str, rows: list[tuple[int, int]]) -> None:
    """Empty, single, repeated, and units that the training text lacks (20 to 29)."""
    ids, durations = ([row[place] for row in rows] for place in (0, 1))
    given_units = units(*ids, size=30, durations=durations)
    encoded = model(kind).encode(given_units)
    assert model(kind).decode(encoded) == given_units
    assert encoded.frames().sum() == given_units.num_frames and len(encoded.frames()) == len(encoded)
    assert (encoded.ids > 0).all() and encoded.lengths.sum() == len(given_units)


def test_a_piece_lasts_as_long_as_its_units() -> None:
    found = learned([units(A, B, A, B, C, A, B, D)], 7)
    encoded = found.encode(units(A, B, D, A, B, C, durations=[3, 1, 4, 1, 5, 9]))
    assert encoded.frames().tolist() == [4, 4, 15]


def test_units_at_either_end_of_the_largest_codebook_come_back() -> None:
    """131,072 kinds, among them those on code points that Unicode calls no characters, and the last one there is."""
    odd = [0, 65533, 65534, 65535, 65536, MOST_UNITS - 2, MOST_UNITS - 1]
    found = learned([units(*odd, *odd, 5, *odd, size=MOST_UNITS)], MOST_UNITS + 4, size=MOST_UNITS)
    assert pieces_of(found)[0] == (0, 65533)
    given_units = units(*reversed(odd), 77, *odd, size=MOST_UNITS)
    assert found.decode(found.encode(given_units)) == given_units
    with pytest.raises(ConfigError, match="131073 kinds of units"):
        learned([], MOST_UNITS + 5, size=MOST_UNITS + 1)


def test_a_codebook_of_one_unit() -> None:
    found = learned([units(0, size=1)], 2, size=1)
    assert found.decode(found.encode(units(0, size=1, durations=[7]))) == units(0, size=1, durations=[7])


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_long_utterances_are_learned_from_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """sentencepiece leaves out sentences beyond 4192 bytes unless told otherwise, and says so only in its log."""
    monkeypatch.setattr(piece_training, "LONGEST_SENTENCE", 1500)  # 6000 bytes
    (row,) = speech(10, utterances=1, length=2 * 1500 + 7)
    head = units(*row.ids[:1200].tolist(), size=10)
    found, of_the_head = (learned([one], 40, size=10, kind=kind) for one in (row, head))
    assert found.card.training["cut"] == 1 and found.card.training["units"] == len(row)
    assert of_the_head.card.training["cut"] == 0
    parts = [units(*row.ids[start : start + 1500].tolist(), size=10) for start in (0, 1500, 3000)]
    assert found.data == learned(parts, 40, size=10, kind=kind).data != of_the_head.data
    assert found.decode(found.encode(row)) == row


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_same_units_give_the_same_bytes(kind: str) -> None:
    rows = speech(12, utterances=10, length=40)
    assert learned(rows, 30, size=12, kind=kind).data == learned(rows, 30, size=12, kind=kind).data


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model("bpe").save(tmp_path)
    loaded = PieceModel.load(tmp_path)
    assert loaded.card == model("bpe").card and loaded.data == model("bpe").data
    assert hashlib.sha256((tmp_path / "pieces.model").read_bytes()).hexdigest() == loaded.card.sha256


def test_what_cannot_be_learned_is_told() -> None:
    with pytest.raises(ConfigError, match=r"4 pieces for 4 kinds of units.*so 5 is the least"):
        learned([units(A, B)], 4)
    with pytest.raises(DataError, match="these units give 6 pieces at the most, not 100"):
        learned([units(A, B)], 100)
    with pytest.raises(DataError, match="no units to learn pieces from, in 2 utterances"):
        learned([units(), units()], 5)
    with pytest.raises(DataError, match="units of 5 kinds at 50 Hz among those of 4"):
        learned([units(A), units(A, size=5)], 6)
    with pytest.raises(DataError, match="at most 0 units"):
        learned([units(A)], 6, longest=0)


def test_units_and_pieces_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match="pieces of 30 units at 50 Hz cannot spell 31 at 50 Hz"):
        model("bpe").encode(units(A, size=31))
    with pytest.raises(DataError, match="7 pieces at 50 Hz are not of this model"):
        model("bpe").decode(Pieces(np.array([1]), np.array([2]), np.array([1, 1]), 50.0, 7))
    encoded = model("bpe").encode(units(A, B, C, size=30))
    with pytest.raises(DataError, match="other lengths"):
        other = np.ones(1, np.int64)
        model("bpe").decode(dataclasses.replace(encoded, ids=np.array([1]), lengths=other, durations=other))
    for ids in ([0], [90], [-1]):
        with pytest.raises(DataError, match=r"must lie in 1\.\.89"):
            model("bpe").untimed(ids)


@pytest.mark.parametrize(
    ("ids", "lengths", "durations", "message"),
    [([1, 2], [1], [1], "equal vectors"), ([9], [1], [1], r"0\.\.8, found 9"), ([1], [2], [1], "2 units in all"),
     ([1, 1], [2, 0], [1, 1], "2 units in all")],
)  # fmt: skip
def test_broken_pieces_are_refused(ids: list[int], lengths: list[int], durations: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Pieces(np.array(ids), np.array(lengths), np.array(durations), 50.0, 9)


def changed_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    found = model("bpe")
    found.save(tmp_path)
    data = bytearray(found.data)
    data[len(data) // 2] ^= 1
    (tmp_path / "pieces.model").write_bytes(data)
    with pytest.raises(CheckpointError, match="does not match the sha256"):
        PieceModel.load(tmp_path)
    (tmp_path / "pieces.model").write_bytes(b"no protobuf")
    changed_card(tmp_path, sha256=hashlib.sha256(b"no protobuf").hexdigest())
    with pytest.raises(CheckpointError, match="is no model of sentencepiece"):
        PieceModel.load(tmp_path)
    found.save(tmp_path)
    for changes, message in (({"num_pieces": 91}, "has 90 pieces, and the card 91"),
                             ({"num_units": 29}, "not of the 29 units"), ({"num_units": 31}, "not of the 31 units"),
                             ({"num_units": 1 << 40}, "kinds of units"), ({"rate_hz": 0.0}, "0.0 Hz"),
                             ({"kind": "word"}, "Invalid enum"), ({"more": 1}, "unknown key more"),
                             ({"format": "x"}, "format is not")):  # fmt: skip
        changed_card(tmp_path, **changes)
        with pytest.raises(CheckpointError, match=message):
            PieceModel.load(tmp_path)
        found.save(tmp_path)
    (tmp_path / "pieces.model").unlink()
    with pytest.raises(CheckpointError, match=r"pieces\.model"):
        PieceModel.load(tmp_path)
    (tmp_path / "pieces.model").mkdir()
    with pytest.raises(CheckpointError, match=r"regular file|directory"):
        PieceModel.load(tmp_path)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_changed_model_is_refused_or_as_good(kind: str) -> None:
    """Even where the card was changed with it: sentencepiece's reader of protocol buffers meets any bytes."""
    random, found, refused = np.random.default_rng(0), model(kind), 0
    given_units = units(*random.integers(0, 30, 100).tolist(), size=30)
    for round_number in range(150):
        data = bytearray(found.data)
        if round_number % 3 == 0:
            del data[random.integers(len(data)) :]
        for _ in range(random.integers(1, 4) if data else 0):
            data[random.integers(len(data))] ^= 1 << int(random.integers(8))
        card = dataclasses.replace(found.card, sha256=hashlib.sha256(data).hexdigest())
        try:
            changed = PieceModel(card, bytes(data))
            assert changed.decode(changed.encode(given_units)) == given_units
        except CheckpointError:
            refused += 1
    assert 75 < refused <= 150


def test_a_model_that_changes_its_text_is_refused(tmp_path: Path) -> None:
    """One from elsewhere whose normaliser makes unit 1 of unit 0: what it spells is not what it was given."""
    import io

    import sentencepiece

    def made(text: int, **options: object) -> PieceModel:
        data = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(map(chr, range(FIRST_CHARACTER, FIRST_CHARACTER + text))), model_writer=data,
            vocab_size=3, model_type="bpe", unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1, add_dummy_prefix=False,
            minloglevel=2, **options,
        )  # fmt: skip
        sha256 = hashlib.sha256(data.getvalue()).hexdigest()
        card = dataclasses.replace(model("bpe").card, num_pieces=3, num_units=2, sha256=sha256)
        return PieceModel(card, data.getvalue())

    assert len(made(2).encode(units(0, 1, 0, size=2))) == 3
    rules = tmp_path / "rules.tsv"
    rules.write_text("".join(f"{FIRST_CHARACTER + i:X}\t{FIRST_CHARACTER + i - 1:X}\n" for i in (1, 2)))
    changed = made(3, normalization_rule_tsv=str(rules))
    with pytest.raises(CheckpointError, match="does not spell units as they are"):
        changed.encode(units(0, 1, 0, size=2))


def test_without_sentencepiece_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sentencepiece'] = None\n"
        "from speechssl.units.pieces import sentencepiece\n"
        "from speechssl.errors import ConfigError\n"
        "try: sentencepiece()\n"
        "except ConfigError as error: print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "pip install 'speechssl[pieces]'" in told
