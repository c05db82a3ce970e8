"""What log mels are: a slow form of every definition, librosa's and SpeechT5's, and when two are the same."""

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.convert.mel_hifigan import original_config, speecht5_config
from speechssl.errors import ConfigError, DataError
from speechssl.nn.mel import log_mel, slaney_filters, slaney_hertz, slaney_mel
from speechssl.nn.mel_definition import MelDefinition

HIFIGAN = {"upsample_rates": [8, 8, 2, 2], "upsample_kernel_sizes": [16, 16, 4, 4], "upsample_initial_channel": 512,
           "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3}  # fmt: skip
V1 = {**HIFIGAN, "resblock": "1", "num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024,
      "sampling_rate": 22050, "fmin": 0, "fmax": 8000}  # fmt: skip
SPEECHT5 = {**HIFIGAN, "upsample_rates": [4, 4, 4, 4], "upsample_kernel_sizes": [8, 8, 8, 8], "model_in_dim": 80,
            "sampling_rate": 16000}  # fmt: skip
DEFINITIONS = {
    "own": MelDefinition(hop=40, window=128, num_mels=10),
    "original": MelDefinition(hop=40, window=120, fft=256, num_mels=10, filters="slaney", low_hz=50, high_hz=7000,
                              of="magnitude", floor=1e-5, added=1e-9, edges="mirror", periodic=True),
    "centred": MelDefinition(hop=40, window=128, num_mels=10, filters="slaney", of="magnitude", centre="start",
                             logarithm="base 10", floor=1e-10, edges="mirror", periodic=True),
}  # fmt: skip


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def slowly(definition: MelDefinition, wav: np.ndarray) -> np.ndarray:
    """Frame by frame, in float64."""
    window, hop = definition.window, definition.hop
    before = (window - hop) // 2 if definition.centre == "hop" else window // 2
    mode = "reflect" if definition.edges == "mirror" else "constant"
    padded = np.pad(wav.astype(np.float64), (before, window), mode=mode)
    steps = window if definition.periodic else window - 1
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / steps)
    rows = []
    for frame in range(definition.num_frames(len(wav))):
        spectrum = np.abs(np.fft.rfft(padded[hop * frame :][:window] * shape, definition.fft_length)) ** 2
        if definition.of == "magnitude":
            spectrum = np.sqrt(spectrum + definition.added)
        rows.append(np.maximum(spectrum @ definition.matrix().double().numpy(), definition.floor))
    found = np.stack(rows)
    return np.log10(found) if definition.logarithm == "base 10" else np.log(found)


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_batch_has_the_mels_of_every_utterance_by_itself(name: str) -> None:
    definition, lengths = DEFINITIONS[name], torch.tensor([700, 401, 30])  # the last one is shorter than a window
    wav = torch.stack([noise(700, seed) for seed in range(3)])
    found = definition.log_mels(wav, lengths, definition.num_frames(700))
    for row, length in zip(range(3), lengths.tolist(), strict=True):
        count = definition.num_frames(length)
        if count:
            expected = slowly(definition, wav[row, :length].numpy())
            np.testing.assert_allclose(found[row, :count].numpy(), expected, atol=2e-4)


def test_the_default_is_log_mel_around_the_middle_of_each_hop() -> None:
    wav, lengths = noise(1600)[None], torch.tensor([1600])
    padded = torch.nn.functional.pad(wav, (432, 0))
    expected = log_mel(padded, lengths + 432, num_frames=10, hop=160, window=1024, floor=1e-4)
    assert torch.equal(MelDefinition().log_mels(wav, lengths, 10), expected)


def test_slaneys_filters_and_scale_are_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    cases = ((22050, 1024, 80, 0, 8000), (16000, 1024, 80, 80, 7600), (8000, 256, 20, 0, 4000))
    for rate, fft, bands, low, high in cases:
        expected = librosa.filters.mel(sr=rate, n_fft=fft, n_mels=bands, fmin=low, fmax=high)
        np.testing.assert_allclose(slaney_filters(bands, fft, rate, low, high).T.numpy(), expected, atol=1e-7)
    hertz = torch.linspace(0, 8000, 50, dtype=torch.float64)
    np.testing.assert_allclose(slaney_mel(hertz).numpy(), librosa.hz_to_mel(hertz.numpy()), atol=1e-10)
    torch.testing.assert_close(slaney_hertz(slaney_mel(hertz)), hertz)


def test_mels_of_the_original_hifigan_are_those_of_its_code_by_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    wav, definition = noise(5000), original_config(V1, where="").mels
    padded = np.pad(wav.numpy(), (384, 384), mode="reflect")  # (n_fft - hop_size) / 2
    spectrum = librosa.stft(padded, n_fft=1024, hop_length=256, win_length=1024, center=False)
    filters = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    expected = np.log(np.maximum(filters @ np.sqrt(np.abs(spectrum) ** 2 + 1e-9), 1e-5)).T
    found = definition.log_mels(wav[None], torch.tensor([5000]), definition.num_frames(5000))[0]
    assert found.shape == (19, 80)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_mels_of_speecht5_are_those_of_its_feature_extractor() -> None:
    extractor = pytest.importorskip("transformers").SpeechT5FeatureExtractor()
    wav, definition = noise(5000), speecht5_config(SPEECHT5, where="").mels
    expected = extractor(audio_target=wav.numpy(), sampling_rate=16000)["input_values"][0]
    found = definition.log_mels(wav[None], torch.tensor([5000]), definition.num_frames(5000))[0]
    assert found.shape == expected.shape == (20, 80)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_an_error_names_both_sides_and_what_differs() -> None:
    one, other = MelDefinition(), MelDefinition(fft=1024, high_hz=8000.0)
    one.check(other, "a", "b")  # the same in other words
    with pytest.raises(
        DataError, match="vocoder 'x' speaks other mels than decoder 'y' makes: hop 160, not 256, floor"
    ):
        one.check(MelDefinition(hop=256, floor=1e-5), "vocoder 'x'", "decoder 'y'")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hop": 0}, "hop, window"),
        ({"fft": 512}, "at least the window"),
        ({"window": 1 << 20}, "65536"),
        ({"sample_rate": 1}, "4000"),
        ({"floor": 0.0}, "floor above 0"),
        ({"filters": "slaney", "high_hz": 9000.0}, "8000"),
        ({"low_hz": 80.0}, "HTK"),
        ({"hop": 161}, "even with it"),
    ],
)
def test_what_nobody_computes_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MelDefinition(**values)
