"""Every kind of input gives the same utterances."""

import json
from pathlib import Path

import numpy as np
import pytest

from speechssl import audio
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.errors import DataError


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
    scp = "".join(f"{name[:-4].rstrip('.')} {path}\n" for name, path in zip(names, paths, strict=True))
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
