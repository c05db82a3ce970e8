"""Forced alignment and confidences: equal to going through every path, and to torchaudio's."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechssl.decoders import alignment
from speechssl.decoders.alignment import align, confidences
from speechssl.decoders.greedy import best_path
from speechssl.errors import DataError
from tests.decoders.slow import paths, random_log_probs

CASES = st.tuples(st.integers(0, 2**31), st.integers(1, 6), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 2))


def usable(num_frames: int, text: list[int]) -> bool:
    return num_frames >= len(text) + sum(a == b for a, b in itertools.pairwise(text))


@settings(max_examples=50, deadline=None)
@given(CASES)
@example((0, 6, [1, 1, 2], 0))  # skips that read otherwise from behind
def test_the_best_alignment_and_confidences_equal_going_through_all_paths(
    case: tuple[int, int, list[int], int],
) -> None:
    seed, num_frames, text, blank = case
    text = [symbol for symbol in text if symbol != blank]
    log_probs = random_log_probs(seed, num_frames, 3)
    if not usable(num_frames, text):
        for work in (align, confidences):
            with pytest.raises(DataError, match="frames at least"):
                work(log_probs, text, blank=blank)
        return
    own = [(path, score) for path, said, score in paths(log_probs, blank) if list(said) == text]
    path, score = max(own, key=lambda item: item[1])
    found = align(log_probs, text, blank=blank)
    assert found.score == pytest.approx(score, abs=1e-9)
    expected = best_path(np.log(np.eye(3)[list(path)] + 1e-9), blank=blank)
    assert found.start.tolist() == expected.start.tolist() and found.end.tolist() == expected.end.tolist()
    weights = np.zeros((len(text), num_frames))
    for path, score in own:
        runs = best_path(np.log(np.eye(3)[list(path)] + 1e-9), blank=blank)
        for u, (start, end) in enumerate(zip(runs.start, runs.end, strict=True)):
            weights[u, start:end] += np.exp(score)
    slow = [(w * np.exp(log_probs[:, symbol])).sum() / w.sum() for w, symbol in zip(weights, text, strict=True)]
    assert confidences(log_probs, text, blank=blank) == pytest.approx(slow, abs=1e-9)


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_alignments_equal_those_of_torchaudio() -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchaudio.functional")
    random = np.random.default_rng(0)
    for seed in range(20):
        log_probs = random_log_probs(seed, 60, 8)
        text = random.integers(1, 8, 15).tolist()
        path, scores = functional.forced_align(torch.from_numpy(log_probs)[None], torch.tensor([text]), blank=0)
        found, theirs = align(log_probs, text, blank=0), best_path(np.eye(8)[path[0].numpy()], blank=0)
        assert found.score == pytest.approx(float(scores.sum()))
        assert found.start.tolist() == theirs.start.tolist() and found.end.tolist() == theirs.end.tolist()


def test_confidence_by_hand() -> None:
    """a in frame 0 with 0.8, blank in frame 1: paths a blank 0.8*0.5, a a 0.8*0.5, blank a 0.2*0.5."""
    log_probs = np.log([[0.2, 0.8], [0.5, 0.5]])
    weights = 0.8, 0.5  # of frame 0: 0.8 of 0.9; of frame 1: 0.5 of 0.9
    expected = (weights[0] * 0.8 + weights[1] * 0.5) / sum(weights)
    assert confidences(log_probs, [1], blank=0)[0] == pytest.approx(expected)


def test_a_text_of_nothing_is_all_blanks() -> None:
    log_probs = random_log_probs(0, 4, 3)
    assert align(log_probs, [], blank=0).score == pytest.approx(float(log_probs[:, 0].sum()))
    assert len(confidences(log_probs, [], blank=0)) == 0
    assert align(log_probs[:0], [], blank=0).score == 0


def test_what_cannot_be_aligned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs = random_log_probs(0, 4, 3)
    for text, message in (([1, 1, 1], "needs 5 frames"), ([0], "without the blank"), ([3], "must be 0..2")):
        with pytest.raises(DataError, match=message):
            align(log_probs, text, blank=0)
    log_probs[:, 1] = -np.inf
    for work in (align, confidences):
        with pytest.raises(DataError, match="probability 0"):
            work(log_probs, [1], blank=0)
    monkeypatch.setattr(alignment, "MOST_CELLS", 11)
    with pytest.raises(DataError, match="cut the speech"):
        align(log_probs, [2], blank=0)
