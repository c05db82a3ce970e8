"""Batches of like lengths: as on a GPU, run here on the CPU, against one row at a time."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl import encoders
from speechssl.data.corpus import open_corpus
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import AudioError
from speechssl.extract import batches as module
from speechssl.extract.batches import batches, in_batches, one_by_one
from speechssl.extract.encode import Encoded, Encoder
from speechssl.extract.job import EncoderReference, Job, LongAudio, Manifest, ModelIdentity
from tests.cli.test_units import HUBERT
from tests.extract.helpers import corpus


def test_batches_hold_every_row_once_with_like_lengths_and_a_limit() -> None:
    random = np.random.default_rng(0)
    num_samples = {row: int(random.integers(1, 1000)) for row in range(200)} | {200: 99_999}
    groups = list(batches(num_samples, 5000))
    assert sorted(row for group in groups for row in group) == sorted(num_samples)
    assert all(len(group) == 1 or len(group) * max(num_samples[r] for r in group) <= 5000 for group in groups)
    assert groups[0] == [200]
    padded = sum(len(group) * max(num_samples[row] for row in group) for group in groups)
    assert padded < 1.1 * sum(num_samples.values())


@pytest.fixture
def encoder() -> Encoder:
    """A tiny HuBERT with a group-norm front end, where padding would show."""
    torch.manual_seed(0)
    pretrained = Pretrained(encoders.build("hubert", HUBERT).eval(), EncoderCard("hubert", HUBERT, normalize=True))
    reference = EncoderReference("tiny", "0", "hubert", {}, True, 1e-5, "none")
    identity = ModelIdentity(reference, 2, 16000, 50.0, "?")
    job = Job("features", "npy", identity, Manifest("0", 1), 1, 1, long_audio=LongAudio(2.0, 0.5))
    return Encoder(job, pretrained, 2, None)


def recordings(folder: Path) -> list:
    corpus(folder, 20)
    soundfile.write(folder / "long.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 80000), 16000)
    soundfile.write(folder / "short.wav", np.zeros(399), 16000)
    (folder / "empty.wav").write_bytes(b"")
    return list(open_corpus(folder).utterances)


@pytest.mark.parametrize(("batch_s", "read_ahead_s"), [(240.0, 1800.0), (1.0, 2.0), (0.01, 0.01)])
def test_batches_give_what_one_row_at_a_time_gives(
    tmp_path: Path, encoder: Encoder, batch_s: float, read_ahead_s: float
) -> None:
    rows = recordings(tmp_path / "in")
    alone = [_copy(o) for o in one_by_one(encoder, rows, {}, tmp_path / "a", lambda row: None)]
    beats: list[int] = []
    found = in_batches(encoder, rows, tmp_path / "b", beats.append, batch_s=batch_s, read_ahead_s=read_ahead_s)
    for one, other in zip(alone, [_copy(o) for o in found], strict=True):
        if isinstance(one, AudioError):
            assert isinstance(other, AudioError) and (one.code, str(one)) == (other.code, str(other))
        else:
            assert isinstance(other, Encoded)
            assert (one.num_samples, one.notes, one.frames.shape) == (
                other.num_samples,
                other.notes,
                other.frames.shape,
            )
            assert np.abs(one.frames - other.frames).max() < 1e-4
    assert {o.code for o in alone if isinstance(o, AudioError)} == {"too-short", "empty"}
    assert set(beats) == set(range(len(rows)))


def test_a_batch_that_does_not_fit_in_memory_is_done_row_by_row(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = recordings(tmp_path / "in")

    def too_much(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module.Encoder, "encode_batch", too_much)
    found = [_copy(o) for o in in_batches(encoder, rows, tmp_path / "s", lambda row: None)]
    assert sum(isinstance(outcome, Encoded) for outcome in found) == 21


def _copy(outcome: Encoded | AudioError) -> Encoded | AudioError:
    """With frames of its own: long ones lie in a file that the next long one writes over."""
    if isinstance(outcome, AudioError):
        return outcome
    return Encoded(np.array(outcome.frames), outcome.num_samples, outcome.notes)
