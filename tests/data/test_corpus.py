"""Every kind of input gives the same utterances."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from speechssl import audio
from speechssl.data.corpus import open_corpus, probe_utterance, read_utterance, stream_utterance
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError


@pytest.fixture
def corpus_dir(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a/one.wav", "a/two.wav", "b/one.flac"):
        path = tmp_path / "wavs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, rng.uniform(-0.5, 0.5, 16000), 16000)
    return tmp_path / "wavs"


def test_every_kind_of_input_reads_the_same_samples(corpus_dir: Path, tmp_path: Path) -> None:
    names = ["a/one.wav", "a/two.wav", "b/one.flac"]
    paths = [str(corpus_dir / name) for name in names]
    data = tmp_path / "data"
    data.mkdir()
    scp = "".join(f"{name.rpartition('.')[0]} {path}\n" for name, path in zip(names, paths, strict=True))
    (data / "wav.scp").write_text(scp)
    (tmp_path / "x.tsv").write_text(f"{corpus_dir}\n" + "".join(f"{name}\t16000\n" for name in names))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"audio": f"wavs/{name}"}) + "\n" for name in names))
    (tmp_path / "x.lst").write_text("\n".join(paths))
    for spec in (corpus_dir, data, data / "wav.scp", tmp_path / "x.tsv", tmp_path / "x.jsonl", tmp_path / "x.lst",
                 f"{corpus_dir}/*/*", paths):  # fmt: skip
        corpus = open_corpus(spec)
        assert [u.id.removeprefix("wavs/") for u in corpus.utterances] == ["a/one", "a/two", "b/one"], corpus.kind
        for utterance, path in zip(corpus.utterances, paths, strict=True):
            found = read_utterance(utterance, sample_rate=16000)
            np.testing.assert_array_equal(found.samples, audio.read(path).samples)


def test_two_files_with_one_id_are_an_error_that_names_both(tmp_path: Path) -> None:
    for name in ("x.wav", "x.flac"):
        audio.write(tmp_path / name, np.zeros(10), 16000)
    with pytest.raises(DataError, match=r"x\.wav and .*x\.flac|x\.flac and .*x\.wav"):
        open_corpus(tmp_path)


def wav(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, np.zeros(100), 16000)
    return path


def ids(spec: object, **options: str) -> list[str]:
    return [u.id for u in open_corpus(spec, **options).utterances]  # type: ignore[arg-type]


def test_ids_keep_everything_but_the_last_extension(tmp_path: Path) -> None:
    for name in ("a.flac.wav", "b.c.wav", "flac.wav", "wav", "dir.wav/x.wav", "é ü.wav", "UP.WAV"):
        wav(tmp_path / (name if "." in name else f"{name}.wav"))
    assert ids(tmp_path) == ["UP", "a.flac", "b.c", "flac", "wav", "é ü", "dir.wav/x"]


def test_a_folder_says_what_it_passed_over(tmp_path: Path) -> None:
    for name in ("a.wav", "sub/b.ogg"):
        wav(tmp_path / name)
    for name in ("notes.txt", "more.txt", "._a.wav", "sub/.DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    (tmp_path / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    wav(Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.wav")))
    corpus = open_corpus(tmp_path)
    assert [u.id for u in corpus.utterances] == ["a", "gone", "pipe", "sub/b"]
    assert len(corpus.problems) == 3
    assert any("4 files are no audio by their name" in p and ".txt 2" in p for p in corpus.problems)
    assert any("sub/again: the same folder as" in p for p in corpus.problems)
    assert any("not UTF-8" in p for p in corpus.problems)
    codes = []
    for utterance in corpus.utterances[1:3]:
        with pytest.raises(AudioError) as caught:
            read_utterance(utterance, sample_rate=16000)
        codes.append(caught.value.code)
    assert codes == ["missing", "not-a-file"]


def test_files_lists_and_globs_name_by_the_common_folder_or_by_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(wav(tmp_path / name)) for name in ("x/b.wav", "x/y/a.wav")]
    assert ids(paths) == ["b", "y/a"] == ids(f"{tmp_path}/**/*.wav")
    assert ids(paths, id_from="name") == ["b", "a"]
    assert ids(paths[1]) == ["a"] == ids(Path(paths[1]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join([*paths, ""]).encode())))
    assert ids("-") == ["b", "y/a"]
    monkeypatch.chdir(tmp_path)
    assert [u.audio for u in open_corpus("x").utterances] == ["x/b.wav", "x/y/a.wav"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [("nothing", "no such file"), ("empty", "no utterances"), ("*.none", "no utterances"), ("x.lst", "no utterances"),
     ("x.tsv", "first line"), ("x.scp", "empty"), ([], "no utterances"), ("dir.scp", "no utterances"),
     ("bom.scp", "byte order"),
     ("twice.scp", "twice.scp:3: 'a' was given before"), ("twice.tsv", "no. 1 and no. 3"), ("bad.tsv", "bad.tsv:3"),
     ("z.jsonl.gz", "damaged gzip"), ("nul\0", "no such"), ("", "an empty name"), (["x.lst", ""], "an empty name")],
)  # fmt: skip
def test_what_holds_no_utterance_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: object, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "dir.scp"):
        Path(folder).mkdir()
    texts = {"x.lst": "", "x.tsv": "", "x.scp": "", "bom.scp": "\ufeffa b\n", "twice.scp": "a x\nb y\na z\n",
             "twice.tsv": "/r\na.wav\t1\nb.wav\t1\na.flac\t1\n", "bad.tsv": "/r\na.wav\t1\nb.wav\tmany\n",
             "z.jsonl.gz": "no gzip"}  # fmt: skip
    for name, text in texts.items():
        Path(name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_corpus(spec)  # type: ignore[arg-type]


def test_whole_parts_and_streams_agree(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 48000), 16000)
    part = Utterance("p", str(tmp_path / "x.wav"), 0.5, 2.75)
    whole = read_utterance(part, sample_rate=8000).samples
    assert len(whole) == 18000
    blocks = stream_utterance(part, sample_rate=8000, block_s=0.3)
    np.testing.assert_array_equal(np.concatenate(list(blocks)), whole)
    assert blocks.notes == ("resampled 16000 Hz to 8000 Hz",)
    assert probe_utterance(part).num_frames == 48000


def test_fairseq_rows_may_lie_outside_the_root(tmp_path: Path) -> None:
    wav(tmp_path / "other" / "a.wav")
    (tmp_path / "root").mkdir()
    (tmp_path / "x.tsv").write_text(f"{tmp_path}/root\n../other/a.wav\t100\n{tmp_path}/other/a.wav\t100\n")
    first, second = open_corpus(tmp_path / "x.tsv").utterances
    assert (first.id, second.id) == ("../other/a", f"{tmp_path}/other/a")
    for utterance in (first, second):
        assert len(read_utterance(utterance, sample_rate=16000).samples) == 100
