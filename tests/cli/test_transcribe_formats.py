"""Transcription with a beam, a language model and a lexicon, and in formats that say when words were said."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.cli import main
from speechssl.decoders.cut import parts
from speechssl.decoders.decoder import Decoder, Settings
from speechssl.decoders.spelling import spelling_of
from speechssl.extract.transcripts import decode
from tests.cli.test_transcribe import recognizer, speech


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A Kaldi data dir of one recording with two utterances, and a recording that is one."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, seconds in (("rec/1 a", 4.0), ("talk", 2.0)):
        file = f"{seconds}.wav"
        soundfile.write(folder / file, speech(seconds, 1), 16000)
        with (folder / "wav.scp").open("a") as scp:
            scp.write(f"{name.replace(' ', '_')} {folder / file}\n")
    (folder / "segments").write_text("a rec/1_a 0.5 1.9\nb rec/1_a 2.0 4.0\nc talk 0 2\n")
    return folder


def transcribe(data: Path, out: Path, *arguments: str) -> int:
    if not (out.parent / "model").exists():
        recognizer().save(out.parent / "model")
    return main(["transcribe", str(data), "--model", str(out.parent / "model"), "-o", str(out), "--workers", "0",
                 "--quiet", *arguments])  # fmt: skip


def test_words_have_their_time_in_the_recording(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for format in ("text", "json", "ctm", "srt", "textgrid"):
        assert transcribe(data, out, "--format", format) == 0  # the emissions are there already
    texts = dict(line.partition(" ")[::2] for line in (out / "text").read_text().splitlines())
    rows = {row["id"]: row for row in map(json.loads, (out / "json").read_text().splitlines())}
    assert {name: row["text"] for name, row in rows.items()} == texts
    assert (rows["b"]["recording"], rows["b"]["begin_s"]) == ("rec/1_a", 2.0)
    assert all(
        0 <= w["start_s"] < w["end_s"] <= row["duration_s"] + 1e-9 for row in rows.values() for w in row["words"]
    )
    ctm = [line.split() for line in (out / "ctm").read_text().splitlines()]
    assert len(ctm) == sum(len(row["words"]) for row in rows.values())
    of_b = [float(row[2]) for row in ctm if row[0] == "rec/1_a" and float(row[2]) >= 2.0]
    assert of_b == pytest.approx([2.0 + w["start_s"] for w in rows["b"]["words"]], abs=1e-3)
    assert sorted(p.name for p in (out / "srt").iterdir()) == ["rec%2F1_a.srt", "talk.srt"]
    grid = (out / "textgrid" / "rec%2F1_a.TextGrid").read_text()
    assert f'text = "{rows["b"]["words"][0]["text"]}"' in grid


def test_a_language_model_and_a_lexicon_decide_what_is_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("abc abc\ncab abc\n" * 4)
    (tmp_path / "lexicon.txt").write_text("abc a b c\ncab c a b\n")
    assert main(["lm", "train", str(tmp_path / "words.txt"), "-o", str(tmp_path / "lm.arpa"), "--order", "2"]) == 0
    out = tmp_path / "out"
    assert transcribe(data, out, "--beam", "20", "--lm", str(tmp_path / "lm.arpa"), "--lexicon",
                      str(tmp_path / "lexicon.txt"), "--closed") == 0  # fmt: skip
    words = {word for line in (out / "text").read_text().splitlines() for word in line.split()[1:]}
    facts = json.loads((out / "transcripts.json").read_text())
    assert words <= {"abc", "cab"} and facts["beam"] == 20 and len(facts["lm_sha256"]) == 64
    capsys.readouterr()
    assert transcribe(data, out, "--lm", str(tmp_path / "lm.arpa")) == 2  # greedy
    assert "beam" in capsys.readouterr().err
    assert facts == json.loads((out / "transcripts.json").read_text())


def test_a_lexicon_that_nothing_fits_leaves_an_empty_text_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lexicon.txt").write_text("long " + "a b " * 200 + "\n")
    out = tmp_path / "out"
    assert transcribe(data, out, "--beam", "5", "--lexicon", str(tmp_path / "lexicon.txt"), "--closed") == 0
    facts = json.loads((out / "transcripts.json").read_text())
    lines = (out / "text").read_text().splitlines()
    assert lines == ["a", "b", "c"] == facts["without_text"]  # 400 symbols do not fit two seconds
    assert "a: the lexicon allows no text" in capsys.readouterr().err


def test_long_recordings_are_cut_where_nobody_speaks() -> None:
    random = np.random.default_rng(0)
    log_probs = np.log(random.dirichlet(np.ones(4), 100))
    log_probs[:, 0] -= 50.0  # never the blank
    log_probs[27:34, 0] += 100.0
    assert parts(log_probs, blank=0, longest=40) == [(0, 30), (30, 70), (70, 100)]
    assert parts(log_probs[:40], blank=0, longest=40) == [(0, 40)]
    assert parts(log_probs[:0], blank=0, longest=40) == [(0, 0)]


def test_parts_give_the_text_and_the_times_of_the_whole() -> None:
    model = recognizer()
    speech_probs = model.log_probs(torch.from_numpy(speech(6.0, 4))).double().numpy()
    silence = np.full((40, speech_probs.shape[1]), -30.0)
    silence[:, model.vocabulary.blank] = 0.0
    boundary = np.full((1, speech_probs.shape[1]), -30.0)
    boundary[:, model.vocabulary.symbols.index("|")] = 0.0
    log_probs = np.concatenate([speech_probs, silence, boundary, silence, speech_probs])
    decoder = Decoder(spelling_of(model.vocabulary), Settings())
    whole = decoder.decode(log_probs, frame_s=0.02)[0]
    text, words, score, symbols = decode(decoder, log_probs, frame_s=0.02, longest=len(speech_probs) + 79) or (
        "",
        (),
        0.0,
        0,
    )
    assert score < 0 and symbols >= len(text.replace(" ", ""))
    assert text == whole.text and [w.text for w in words] == [w.text for w in whole.words]
    assert [w.start_s for w in words] == pytest.approx([w.start_s for w in whole.words])
