"""Several inputs in one command are one corpus."""

from pathlib import Path

import numpy as np
import pytest

from speechssl import audio
from speechssl.data.corpus import open_corpus
from speechssl.errors import DataError


def record(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, np.zeros(160, np.float32), 16000)


def test_folders_and_files_are_joined_in_order(tmp_path: Path) -> None:
    record(tmp_path / "a/one.wav")
    record(tmp_path / "b/two.wav")
    record(tmp_path / "three.wav")
    corpus = open_corpus([tmp_path / "b", tmp_path / "a", tmp_path / "three.wav"])
    assert [u.id for u in corpus.utterances] == ["two", "one", "three"]
    assert corpus.kind == "folder + files"


def test_one_id_in_two_inputs_is_an_error_that_names_both(tmp_path: Path) -> None:
    record(tmp_path / "a/one.wav")
    record(tmp_path / "b/one.wav")
    with pytest.raises(DataError, match=r"'one' stands both in .*a and in .*b"):
        open_corpus([tmp_path / "a", tmp_path / "b"])
