"""The filter bank against torchaudio's Kaldi port and transformers' feature extractor."""

import numpy as np
import pytest
import torch
import torchaudio

from speechssl.encoders.fbank import Config, Model
from speechssl.errors import ConfigError
from tests.encoders.test_mfcc import double_by_default, noise

__all__ = ["double_by_default"]


@pytest.mark.parametrize(("rate", "num_mels"), [(16_000, 80), (8_000, 23)])
def test_frames_equal_torchaudios_kaldi_fbank(double_by_default: None, rate: int, num_mels: int) -> None:
    wav = noise(9000)
    theirs = torchaudio.compliance.kaldi.fbank(wav * 32768, dither=0.0, num_mel_bins=num_mels, sample_frequency=rate)
    ours, lengths = Model(Config(rate, num_mels, "none"))(wav)
    assert ours.shape[1] == int(lengths[0]) == len(theirs)
    torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-6)


def test_utterance_cmvn_is_that_of_transformers_and_of_real_frames_alone() -> None:
    from transformers import Speech2TextFeatureExtractor

    wav = noise(7000, batch=2).float()
    cut = [wav[0].numpy(), wav[1, :4000].numpy()]
    theirs = Speech2TextFeatureExtractor()(cut, sampling_rate=16_000, padding=True, return_tensors="np").input_features
    spoilt = wav.clone()
    spoilt[1, 4000:] = float("nan")
    ours, counts = Model(Config())(spoilt, torch.tensor([7000, 4000]))
    for row, count in enumerate(counts.tolist()):
        np.testing.assert_allclose(ours[row, :count].numpy(), theirs[row, :count], rtol=0, atol=2e-3)


def test_global_cmvn_takes_the_stored_statistics() -> None:
    model, wav = Model(Config(cmvn="global")), noise(2000).float()
    plain = Model(Config(cmvn="none"))(wav)[0]
    model.load_state_dict({"conv.mean": torch.arange(80.0), "conv.std": torch.full((80,), 2.0)})
    torch.testing.assert_close(model(wav)[0], (plain - torch.arange(80.0)) / 2)


def test_silence_is_zero_and_what_cannot_be_built_is_refused() -> None:
    assert Model(Config())(torch.zeros(1, 2000))[0].abs().max() < 1e-6
    for wrong in ({"num_mels": 0}, {"num_mels": 1001}, {"sample_rate": 11_025}, {"sample_rate": 400}):
        with pytest.raises(ConfigError, match="filter bank"):
            Model(Config(**wrong))
