"""Commands in wav.scp: refused by default with their line; allowed ones run without a shell, in bounded time."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from speechssl import audio
from speechssl.data import pipes
from speechssl.data.corpus import open_corpus, probe_utterance, read_utterance
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError

REFUSED = [
    "touch {mark} |", "cat {wav} ; touch {mark} |", "cat {wav} && touch {mark} |", "cat {wav} | touch {mark} |",
    "cat `touch {mark}` |", "cat $(touch {mark}) |", "cat {wav} > {mark} |", "cat < {wav} |", "sh -c 'touch {mark}' |",
    "bash {mark} |", "env touch {mark} |", "LC_ALL=C cat {wav} |", "sox '|touch {mark}' -t wav - |", "/tmp/evil |",
    "ffmpeg -i http://localhost/x.wav - |", "cat {wav}\ntouch {mark} |", "cat '{wav} |", "|", " |", "cat {wav} | |",
    "| cat", "-", "cat {wav} | sox", "python -c 1 |", "cat {wav} & |", "(cat {wav}) |", "$SHELL |", "xargs touch |",
    "cat {wav} || touch {mark} |", "cat {wav} |& touch {mark} |",
]  # fmt: skip


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "a b.wav"
    audio.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)
    return path


def scp(tmp_path: Path, entry: str) -> Path:
    (tmp_path / "wav.scp").write_text(f"first {tmp_path}/a b.wav\nsecond {entry}\n")
    return tmp_path / "wav.scp"


def test_a_command_is_refused_with_its_line_unless_allowed(wav: Path, tmp_path: Path) -> None:
    table = scp(tmp_path, f"cat '{wav}' |")
    with pytest.raises(DataError, match=r"wav\.scp:2: .*--allow-pipes"):
        open_corpus(table)
    utterance = open_corpus(table, allow_pipes=True).utterances[1]
    with pytest.raises(AudioError) as caught:
        read_utterance(utterance, sample_rate=16000)
    assert caught.value.code == "pipe-refused"
    expected = audio.read(wav).samples
    np.testing.assert_array_equal(read_utterance(utterance, sample_rate=16000, allow_pipes=True).samples, expected)
    assert probe_utterance(utterance, allow_pipes=True).num_frames == 16000


@pytest.mark.parametrize("entry", REFUSED)
def test_whatever_is_no_plain_allowed_program_is_refused_and_does_not_run(
    wav: Path, tmp_path: Path, entry: str
) -> None:
    mark = tmp_path / "mark"
    entry = entry.format(mark=mark, wav=wav)
    with pytest.raises(AudioError) as caught:
        pipes.run(entry)
    assert caught.value.code == "pipe-refused"
    if "\n" not in entry:
        for allow in (False, True):
            if pipes.is_command(entry.strip()):
                with pytest.raises(DataError, match=r"wav\.scp:2: "):
                    open_corpus(scp(tmp_path, entry), allow_pipes=allow)
    assert not mark.exists()


def test_a_pipeline_runs_program_into_program(wav: Path, tmp_path: Path) -> None:
    shutil.copy(wav, tmp_path / "c.wav")
    os.system(f"gzip -k {tmp_path}/c.wav")
    for entry in (f"cat {tmp_path}/c.wav.gz | gunzip -c |", f"gzip -dc {tmp_path}/c.wav.gz 2>/dev/null | cat | cat |"):
        with pipes.run(entry) as output:
            output.seek(0)
            assert output.read() == wav.read_bytes()


def test_an_entry_cannot_bring_its_own_program(wav: Path, tmp_path: Path) -> None:
    evil = tmp_path / "cat"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/mark\n")
    evil.chmod(0o755)
    with pipes.run(f"{evil} '{wav}' |") as output:
        assert output.seek(0, 2) == wav.stat().st_size
    assert not (tmp_path / "mark").exists()


def test_failing_endless_and_absent_programs_are_reported(wav: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    start = time.monotonic()
    for entry, options, message in (
        (f"cat {tmp_path}/none |", {}, "cat ended with 1: .*No such file"),
        (f"cat {tmp_path}/none | cat |", {}, "ended with 1"),
        (f"cat {tmp_path}/fifo | cat |", {"timeout_s": 0.3}, "time limit"),
        ("cat /dev/zero |", {"max_bytes": 1 << 20}, "more than 1048576 bytes"),
        ("shorten x |", {}, "not installed"),
    ):
        with pytest.raises(AudioError, match=message) as caught:
            pipes.run(entry, **options)  # type: ignore[arg-type]
        assert caught.value.code == "pipe-failed"
    assert time.monotonic() - start < 20


def test_a_header_without_length_is_normal_from_a_command_and_noted_in_a_file(wav: Path, tmp_path: Path) -> None:
    data = bytearray(wav.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe
    (tmp_path / "s.wav").write_bytes(data)
    audio.write(tmp_path / "x.flac", np.zeros(16000), 16000)
    data = bytearray((tmp_path / "x.flac").read_bytes())
    data[21] &= 0xF0
    data[22:42] = bytes(20)
    (tmp_path / "s.flac").write_bytes(data)
    command = Utterance("a", f"cat {tmp_path}/s.wav |", pipe=True)
    assert len(read_utterance(command, sample_rate=16000, allow_pipes=True).samples) == 16000
    assert "states no length" in audio.read(tmp_path / "s.wav").notes[0]
    with pytest.raises(AudioError) as caught:
        audio.read(tmp_path / "s.flac")
    assert caught.value.code == "truncated"
    command = Utterance("a", f"cat {tmp_path}/s.flac |", pipe=True)
    assert len(read_utterance(command, sample_rate=16000, allow_pipes=True).samples) == 16000


def test_recordings_inside_kaldi_archives(wav: Path, tmp_path: Path) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    samples = (np.random.default_rng(0).uniform(-0.5, 0.5, 16000) * 32767).astype(np.int16)
    kaldiio.save_ark(str(tmp_path / "w.ark"), {"a": (16000, samples), "b": (16000, samples[:8000])},
                     scp=str(tmp_path / "w.scp"))  # fmt: skip
    kaldiio.save_ark(str(tmp_path / "f.ark"), {"c": (samples[:8000], 16000)}, scp=str(tmp_path / "f.scp"),
                     write_function="soundfile", write_kwargs={"format": "flac"})  # fmt: skip
    for name, lengths in (("w", [16000, 8000]), ("f", [8000])):
        corpus = open_corpus(tmp_path / f"{name}.scp")
        for utterance, length in zip(corpus.utterances, lengths, strict=True):
            found = read_utterance(utterance, sample_rate=16000).samples
            np.testing.assert_array_equal(found, samples[:length] / np.float32(32768))
    size = (tmp_path / "w.ark").stat().st_size
    for offset, code in ((0, "unsupported"), (size, "truncated"), (10**17, "truncated")):
        with pytest.raises(AudioError) as caught:
            read_utterance(Utterance("x", f"{tmp_path}/w.ark:{offset}"), sample_rate=16000)
        assert caught.value.code == code
    os.truncate(tmp_path / "w.ark", size - 100)
    with pytest.raises(AudioError, match="archive ends before") as caught:
        read_utterance(open_corpus(tmp_path / "w.scp").utterances[1], sample_rate=16000)
    assert caught.value.code == "truncated"
