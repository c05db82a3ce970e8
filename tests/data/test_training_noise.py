"""A corpus of noise beside the speech: one recording per batch, a function of the batch."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Batches, Place, open_training_set


def folder(path: Path, levels: list[float]) -> Path:
    path.mkdir()
    for number, level in enumerate(levels):
        soundfile.write(path / f"{number}.wav", np.full(16000, level, np.float32), 16000, subtype="FLOAT")
    return path


def test_every_batch_brings_one_noise_and_the_same_one_every_time(tmp_path: Path) -> None:
    speech, noise = (folder(tmp_path / "speech", [0.5] * 40), folder(tmp_path / "noise", [0.1, 0.2, 0.3]))
    data = open_training_set(open_corpus(str(speech)), sample_rate=16000, noise=open_corpus(str(noise)))
    found = []
    for _ in range(2):
        batches = Batches(data, Batching(seconds=2.0, crop_s=0.5), seed=1, hop=320)
        loaded = [batch for _, batch in zip(range(10), batches.start(Place()), strict=False)]
        found.append([one.batch.noise for one in loaded if one.batch is not None])
    assert len(found[0]) == 10 and all(noise is not None and noise.shape == (8000,) for noise in found[0])
    levels = {round(float(noise[0]), 4) for noise in found[0]}
    assert levels <= {0.1, 0.2, 0.3} and len(levels) > 1
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_noise_that_cannot_be_read_is_named_and_the_batch_goes_without(tmp_path: Path) -> None:
    speech, noise = folder(tmp_path / "speech", [0.5] * 4), folder(tmp_path / "noise", [0.1])
    (noise / "0.wav").write_bytes((noise / "0.wav").read_bytes()[:2000])
    data = open_training_set(open_corpus(str(speech)), sample_rate=16000, noise=open_corpus(str(noise)))
    loaded = next(Batches(data, Batching(seconds=4.0, crop_s=1.0), seed=1, hop=320).start(Place()))
    assert loaded.batch is not None and loaded.batch.noise is None and [name for name, _ in loaded.failures] == ["0"]
