"""Neighbours of utterances: their order, how much of their units is seen, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from speechssl.data.context import Context, Sessions, read_sessions, sessions_of, units_around
from speechssl.data.corpus import Corpus
from speechssl.data.utterance import Utterance
from speechssl.errors import ConfigError, DataError


def test_neighbours_are_those_of_the_session_and_none_at_its_ends(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("s1 a b c d\ns2 e\n")
    sessions = read_sessions(tmp_path / "sessions")
    assert sessions.around("c", Context(2, 1)) == (["a", "b"], ["d"])
    assert sessions.around("a", Context(1, 1)) == ([], ["b"])
    assert sessions.around("e", Context(3, 3)) == ([], []) == sessions.around("unknown", Context(1, 1))
    (tmp_path / "sessions").write_text("s1 a b\ns2 b\n")
    with pytest.raises(DataError, match="'b' has two places"):
        read_sessions(tmp_path / "sessions")


def test_segments_of_a_recording_are_in_the_order_of_their_beginnings() -> None:
    rows = [Utterance(n, "x.wav", start_s=s, recording=r)
            for n, s, r in (("b", 5.0, "r"), ("a", 9.0, "r"), ("c", 1.0, "q"), ("d", 0.0, "r"))]  # fmt: skip
    found = sessions_of(Corpus(rows, "kaldi", "here"))
    assert found.around("b", Context(1, 1)) == (["d"], ["a"]) and found.around("c", Context(1, 1)) == ([], [])
    with pytest.raises(DataError, match="no recording has two utterances"):
        sessions_of(Corpus([Utterance("a", "a.wav", recording="a")], "kaldi", "here"))


def test_what_is_nearest_is_kept_and_the_past_is_a_multiple_of_the_factor() -> None:
    sessions = Sessions.join([["a", "none", "b", "c", "d"]])
    units = {name: np.arange(10 * k, 10 * k + 5)[:, None] for k, name in enumerate("abcd")}
    before, after = units_around("c", units, sessions, Context(3, 1, most=8), factor=2)
    assert before[:, 0].tolist() == [2, 3, 4, 10, 11, 12, 13, 14], "the neighbour without units is left out"
    assert after[:, 0].tolist() == [30, 31, 32, 33, 34]
    before, _ = units_around("b", units, sessions, Context(2, 1, most=8), factor=2)
    assert before[:, 0].tolist() == [1, 2, 3, 4]
    before, after = units_around("a", units, sessions, Context(1, 0))
    assert before.shape == after.shape == (0, 1)


@pytest.mark.parametrize("wrong", [{"before": 0, "after": 0}, {"before": -1}, {"most": 0}])
def test_a_context_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="a context needs"):
        Context(**wrong)
