"""Texts in training batches."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.targets import make_targets, needed_frames
from speechssl.data.training_set import Batches, open_training_set
from speechssl.data.utterance import Utterance
from speechssl.decoders.vocabulary import of_characters
from speechssl.errors import DataError

TEXTS = {"u0": "ab", "u1": "ba b", "u2": "", "u3": "axb", "u4": "b" * 60, "u5": "a", "u6": "aab"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Recordings of 1 s, u5 of 3 s."""
    for name in TEXTS:
        soundfile.write(tmp_path / f"{name}.wav", np.full(48000 if name == "u5" else 16000, 0.1), 16000)
    (tmp_path / "wav.scp").write_text("".join(f"{name} {tmp_path}/{name}.wav\n" for name in TEXTS))
    (tmp_path / "text").write_text("".join(f"{name} {text}".strip() + "\n" for name, text in TEXTS.items()))
    return tmp_path


def test_batches_carry_targets_and_what_has_none_is_reported(data: Path) -> None:
    vocabulary = of_characters(["a b"])  # blank, |, a, b
    found = open_training_set(open_corpus(data), sample_rate=16000, encode=vocabulary.encode, rate_hz=50.0, longest_s=2)
    reasons = dict(found.failures)
    assert set(reasons) == {"u2", "u3", "u4", "u5"}
    assert reasons["u2"] == "no text" and "'x' (U+0078)" in reasons["u3"]
    assert "119 frames" in reasons["u4"] and "crop_s=2" in reasons["u5"]
    seen = {}
    for loaded in Batches(found, Batching(seconds=2, crop_s=2), 0, 320).once():
        assert loaded.batch is not None and loaded.batch.targets is not None
        for key, row in zip(loaded.batch.ids, loaded.batch.targets.tolist(), strict=True):
            seen[key] = row
    assert {key: [i for i in row if i >= 0] for key, row in seen.items()} == {
        "u0": [2, 3], "u1": [3, 2, 1, 3], "u6": [2, 2, 3]
    }  # fmt: skip
    assert any(-1 in row for row in seen.values())


def test_without_a_single_text_nothing_can_be_trained(data: Path) -> None:
    (data / "text").unlink()
    with pytest.raises(DataError, match="no text"):
        open_training_set(open_corpus(data), sample_rate=16000, encode=of_characters(["a"]).encode)


@pytest.mark.parametrize(("ids", "frames"), [([], 0), ([4], 1), ([4, 4], 3), ([1, 2, 2, 2, 1], 7)])
def test_equal_neighbours_need_a_blank_between_them(ids: list[int], frames: int) -> None:
    assert needed_frames(ids) == frames


def test_audio_just_long_enough_for_its_text_is_used() -> None:
    utterances = [Utterance("a", "a.wav", text="ab"), Utterance("b", "b.wav", text="aa")]
    targets, failures = make_targets(utterances, np.array([0.04, 0.04]), of_characters(["ab"]).encode, rate_hz=50.0,
                                     longest_s=9)  # fmt: skip
    assert targets.of(0).tolist() == [2, 3] and targets.of(1).tolist() == []
    assert [row for row, _ in failures] == [1]
