"""Speech that is changed on its way into training."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl import audio
from speechssl.audio.augment import Augmentation, Drawing
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Batches, Loaded, Place, open_training_set
from speechssl.errors import ConfigError

NOISY = Drawing(share=1.0, stretch=(1, 1), pitch=(0, 0), rt60_s=(0, 0), snr_db=(6.0, 6.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    for index in range(4):
        audio.write(folder / f"{index}.wav", (0.1 * random.standard_normal(16000 + 4000 * index)).astype("f4"), 16000)
    return folder


def first(folder: Path, augment: Drawing | None, *, workers: int = 0, noise: Path | None = None) -> Loaded:
    data = open_training_set(open_corpus(str(folder)), sample_rate=16000, augment=augment,
                             noise=None if noise is None else open_corpus(str(noise)))  # fmt: skip
    batches = Batches(data, Batching(seconds=10, crop_s=1.25, min_s=0.1), 0, 320, workers=workers)
    return next(iter(batches.start(Place())))


def test_noise_comes_at_the_ratio_that_was_asked_for(folder: Path) -> None:
    clean, noisy = first(folder, None).batch, first(folder, NOISY).batch
    assert clean is not None and noisy is not None and torch.equal(clean.lengths, noisy.lengths)
    for row, length in enumerate(clean.lengths.tolist()):
        speech, added = clean.wav[row, :length], noisy.wav[row, :length] - clean.wav[row, :length]
        ratio = 10 * math.log10(float(speech.square().sum() / added.square().sum()))
        assert ratio == pytest.approx(6.0, abs=0.01)


def test_the_same_changes_whoever_reads(folder: Path) -> None:
    one, other = first(folder, Drawing()).batch, first(folder, Drawing(), workers=2).batch
    assert one is not None and other is not None
    assert torch.equal(one.wav, other.wav) and torch.equal(one.lengths, other.lengths)


def test_labels_count_by_the_samples_before_the_stretch(folder: Path) -> None:
    stretched = Drawing(share=1.0, stretch=(2.0, 2.0), pitch=(0, 0), rt60_s=(0, 0), snr_db=(math.inf, math.inf))
    clean, fast = first(folder, None).batch, first(folder, stretched).batch
    assert clean is not None and fast is not None and fast.source_lengths is not None
    assert clean.source_lengths is None and torch.equal(fast.source_lengths, clean.lengths)
    assert torch.equal(fast.lengths, (clean.lengths / 2).round().long())


def test_a_recording_of_noise_is_added_where_there_is_one(folder: Path, tmp_path: Path) -> None:
    """A constant is noise that cannot be mistaken for another."""
    audio.write(tmp_path / "hum.wav", np.full(100, 0.25, "f4"), 16000)
    clean, noisy = first(folder, None).batch, first(folder, NOISY, noise=tmp_path).batch
    assert clean is not None and noisy is not None
    length = int(clean.lengths[0])
    added = noisy.wav[0, :length] - clean.wav[0, :length]
    assert float(added.std()) < 1e-6 < float(added.mean())


def test_every_kind_is_drawn_as_often_as_its_share_says() -> None:
    random = np.random.default_rng(0)
    drawn = [Drawing(share=0.3).draw(random) for _ in range(2000)]
    for kind in ("stretch", "pitch", "rt60_s", "snr_db"):
        changed = [getattr(one, kind) for one in drawn if getattr(one, kind) != getattr(Augmentation(), kind)]
        assert len(changed) / 2000 == pytest.approx(0.3, abs=0.04)
        low, high = getattr(Drawing(), kind)
        assert low <= min(changed) < low + 0.1 * (high - low) and high - 0.1 * (high - low) < max(changed) <= high


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"stretch": (1.2, 0.8)}, {"stretch": (0.1, 1.0)},
                                   {"rt60_s": (-1.0, 0.5)}, {"snr_db": (5.0, math.inf)}])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ConfigError):
        Drawing(**wrong)  # type: ignore[arg-type]
