"""Transcripts as files, against texts written by hand."""

import json
from pathlib import Path

import pytest

from speechssl.decoders import outputs
from speechssl.decoders.hypothesis import Word
from speechssl.decoders.outputs import Transcript
from speechssl.errors import DataError
from speechssl.metrics.textgrid import read_textgrid

ONE = Transcript("r1-b", 'oui "non"', (Word("oui", 0.5, 0.74, 0.9), Word('"non"', 1.0, 1.5, 0.25)), 2.0, "r1", 61.0)
TWO = Transcript("r1-a", "ah", (Word("ah", 0.1, 0.2, 1.0),), 1.0, "r1", 3600.0)
EMPTY = Transcript("r0", "")


def test_text() -> None:
    assert outputs.as_text([ONE, EMPTY]) == 'r1-b oui "non"\nr0\n'


def test_ctm_is_sorted_by_recording_and_begin() -> None:
    assert outputs.as_ctm([TWO, ONE, EMPTY, Transcript("r0", "a", (Word("a", 2, 3, 0.5),), channel="A")]) == (
        "r0 A 2.000 1.000 a 0.5000\n"
        "r1 1 61.500 0.240 oui 0.9000\n"
        'r1 1 62.000 0.500 "non" 0.2500\n'
        "r1 1 3600.100 0.100 ah 1.0000\n"
    )


def test_srt() -> None:
    assert outputs.as_srt([TWO, ONE]) == (
        '1\n00:01:01,500 --> 00:01:02,500\noui "non"\n\n2\n01:00:00,100 --> 01:00:00,200\nah\n'
    )
    assert outputs.as_srt([EMPTY]) == ""


def test_cues_end_at_pauses_length_and_time() -> None:
    def cues(words: list[tuple[str, float, float]]) -> list[str]:
        timed = tuple(Word(text, start, end, 1.0) for text, start, end in words)
        blocks = outputs.as_srt([Transcript("u", " ".join(w.text for w in timed), timed)]).split("\n\n")
        return [block.strip().split("\n")[2] for block in blocks]

    assert cues([("a", 0, 1), ("b", 1.9, 2), ("c", 3, 4)]) == ["a b", "c"]  # a pause of 1 s
    assert cues([("a", 0, 1), ("b", 1.5, 6), ("c", 6.01, 6.02)]) == ["a b", "c"]  # more than 6 s
    assert cues([("x" * 20, 0, 1), ("y" * 21, 1, 2), ("z", 2, 3)]) == [f"{'x' * 20} {'y' * 21}", "z"]  # 42 characters


def test_json() -> None:
    row = json.loads(outputs.as_json([ONE, EMPTY]).splitlines()[0])
    assert row == {
        "id": "r1-b", "text": 'oui "non"', "duration_s": 2.0, "recording": "r1", "begin_s": 61.0, "channel": "1",
        "score": 0.0, "symbols": 0,
        "words": [{"text": "oui", "start_s": 0.5, "end_s": 0.74, "confidence": 0.9},
                  {"text": '"non"', "start_s": 1.0, "end_s": 1.5, "confidence": 0.25}],
    }  # fmt: skip


def test_textgrid_by_hand_and_read_back(tmp_path: Path) -> None:
    text = outputs.as_textgrid(TWO)
    assert text == (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1.000000\ntiers? <exists>\n'
        'size = 1\nitem []:\n    item [1]:\n        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n'
        "        xmax = 1.000000\n        intervals: size = 3\n"
        '        intervals [1]:\n            xmin = 0.000000\n            xmax = 0.100000\n            text = ""\n'
        '        intervals [2]:\n            xmin = 0.100000\n            xmax = 0.200000\n            text = "ah"\n'
        '        intervals [3]:\n            xmin = 0.200000\n            xmax = 1.000000\n            text = ""\n'
    )
    (tmp_path / "one.TextGrid").write_text(outputs.as_textgrid(ONE))
    found = read_textgrid(tmp_path / "one.TextGrid")
    assert found == [(0, 0.5, ""), (0.5, 0.74, "oui"), (0.74, 1, ""), (1, 1.5, '"non"'), (1.5, 2, "")]


def test_what_formats_cannot_hold_is_refused() -> None:
    with pytest.raises(DataError, match="no times"):
        outputs.as_ctm([Transcript("u", "text without words")])
    with pytest.raises(DataError, match="one recording"):
        outputs.as_srt([ONE, Transcript("other", "")])
    with pytest.raises(DataError, match=r"overlap at 0\.500 s"):
        outputs.as_textgrid(Transcript("u", "a b", (Word("a", 0, 1, 1), Word("b", 0.5, 2, 1))))
