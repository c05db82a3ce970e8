"""MFCC encoder against torchaudio's Kaldi port, a slow oracle from the definitions, and hand-computed deltas."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchaudio

from speechssl.encoders import Encoder, build
from speechssl.encoders.mfcc import Config, Model, add_deltas


def noise(samples: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    wav = torch.randn(batch, samples, generator=generator, dtype=torch.float64)
    return 0.1 * torch.nn.functional.conv1d(wav.unsqueeze(1), torch.ones(1, 1, 9).double() / 3, padding=4)[:, 0]


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)  # else torchaudio's mel filters are float32 for float64 waveforms too
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("use_energy", [True, False])
@pytest.mark.parametrize("raw_energy", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{}, {"num_mels": 40, "num_ceps": 20, "high_freq": -400.0}, {"hop_ms": 10.0, "cepstral_lifter": 0.0}],
)
@pytest.mark.parametrize("energy_floor", [0.0, 3e9])
def test_statics_equal_torchaudios_kaldi_mfcc(
    double_by_default: None, use_energy: bool, raw_energy: bool, changes: dict[str, float], energy_floor: float
) -> None:
    config = Config(deltas=0, use_energy=use_energy, raw_energy=raw_energy, energy_floor=energy_floor, **changes)
    wav = noise(16000)
    theirs = torchaudio.compliance.kaldi.mfcc(
        wav * 32768,
        dither=0.0,
        frame_shift=config.hop_ms,
        num_mel_bins=config.num_mels,
        num_ceps=config.num_ceps,
        high_freq=config.high_freq,
        cepstral_lifter=config.cepstral_lifter,
        use_energy=use_energy,
        raw_energy=raw_energy,
        energy_floor=energy_floor,
    )
    ours, lengths = Model(config)(wav)
    assert ours.shape[1] == int(lengths[0]) == len(theirs)
    torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-6)


def slow_mfcc(wav: np.ndarray) -> np.ndarray:
    """Kaldi's defaults at 16 kHz, one loop per definition, numpy float64."""

    def mel(f: float) -> float:
        return 1127 * math.log(1 + f / 700)

    rows = []
    for start in range(0, len(wav) - 400 + 1, 320):
        x = wav[start : start + 400] * 32768
        x = x - x.mean()
        energy = math.log(max(float((x**2).sum()), 2.0**-23))
        x = np.array([x[i] - 0.97 * x[max(i - 1, 0)] for i in range(400)])
        x = x * np.array([(0.5 - 0.5 * math.cos(2 * math.pi * i / 399)) ** 0.85 for i in range(400)])
        phases = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
        power = np.abs(phases @ x) ** 2
        edges = [mel(20) + i * (mel(8000) - mel(20)) / 24 for i in range(25)]
        logs = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k in range(256):
                m = mel(k * 16000 / 512)
                if left < m <= centre:
                    total += power[k] * (m - left) / (centre - left)
                elif centre < m < right:
                    total += power[k] * (right - m) / (right - centre)
            logs.append(math.log(max(total, 2.0**-23)))
        row = [energy]
        for c in range(1, 13):
            value = sum(v * math.cos(math.pi * c * (b + 0.5) / 23) for b, v in enumerate(logs)) * math.sqrt(2 / 23)
            row.append(value * (1 + 11 * math.sin(math.pi * c / 22)))
        rows.append(row)
    return np.array(rows)


def test_statics_equal_a_float64_oracle() -> None:
    wav = noise(2000)
    ours, _ = Model(Config(deltas=0))(wav)
    np.testing.assert_allclose(ours[0].numpy(), slow_mfcc(wav[0].numpy()), rtol=1e-10, atol=1e-10)


def test_silence_gives_kaldis_floor() -> None:
    ours, _ = Model(Config(deltas=0))(torch.zeros(1, 400, dtype=torch.float64))
    assert float(ours[0, 0, 0]) == pytest.approx(math.log(2.0**-23))
    assert ours[0, 0, 1:].abs().max() < 1e-12  # a flat spectrum has no shape


def test_deltas_by_hand() -> None:
    frames = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 25.0]).double().view(1, -1, 1)
    ours = add_deltas(frames, torch.tensor([6]), order=2, window=2)[0]
    # order 1 at frame 2: (-2*0 - 1*1 + 1*9 + 2*16) / 10; at frame 0 the edge stands in: (1*1 + 2*4) / 10
    assert ours[2, 1] == pytest.approx(4.0)
    assert ours[0, 1] == pytest.approx(0.9)
    # order 2: taps (4 4 1 -4 -10 -4 1 4 4) / 100; at frame 0: (-4*1 + 1*4 + 4*9 + 4*16) / 100
    assert ours[0, 2] == pytest.approx(1.0)
    # at frame 3, with frames -1 and 6, 7 standing in: 4*0 + 4*0 + 1*1 - 4*4 - 10*9 - 4*16 + 1*25 + 4*25 + 4*25
    assert ours[3, 2] == pytest.approx((1 - 16 - 90 - 64 + 25 + 100 + 100) / 100)


def test_inner_deltas_equal_torchaudio_applied_twice() -> None:
    wav = noise(16000)
    statics, _ = Model(Config()).statics(wav)
    ours = Model(Config())(wav)[0][0].T
    first = torchaudio.functional.compute_deltas(statics[0].T)
    second = torchaudio.functional.compute_deltas(first)
    torch.testing.assert_close(ours[13:26], first, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours[26:, 2:-2], second[:, 2:-2], rtol=0, atol=1e-10)


@pytest.mark.parametrize("config", [Config(), Config(cmvn=True), Config(deltas=0, hop_ms=10.0)], ids=str)
def test_batched_equals_one_by_one(config: Config) -> None:
    model = Model(config)
    lengths = torch.tensor([16000, 9000, 399, 400, 0, 719])
    wav = noise(16000, batch=6).float()  # neighbours' padding is noise, not zeros
    together, frames = model(wav, lengths)
    assert frames.tolist() == [(max(n - 400, -model.hop)) // model.hop + 1 for n in lengths.tolist()]
    for i, n in enumerate(lengths.tolist()):
        alone, count = model(wav[i : i + 1, :n])
        assert alone.shape[1] == int(count[0]) == int(frames[i])
        torch.testing.assert_close(together[i, : frames[i]], alone[0], rtol=1e-6, atol=1e-12)
        assert not together[i, frames[i] :].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cmvn_gives_zero_mean_and_unit_variance(dtype: torch.dtype) -> None:
    frames, _ = Model(Config(cmvn=True))(noise(16000).to(dtype))
    assert frames.dtype == dtype
    assert frames.mean(1).abs().max() < 1e-6
    torch.testing.assert_close(frames.var(1, correction=0), torch.ones(1, 39, dtype=dtype))


def test_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    wav = noise(40000).float()
    whole, _ = Model(Config())(wav)
    monkeypatch.setattr("speechssl.encoders.mfcc._BLOCK_FRAMES", 7)
    assert torch.equal(Model(Config())(wav)[0], whole)


def test_casting_the_model_does_not_change_the_features() -> None:
    wav = noise(8000).float()
    assert torch.equal(Model(Config()).half()(wav)[0], Model(Config())(wav)[0])


def test_it_is_an_encoder_with_layer_zero_only() -> None:
    model = build("mfcc", {})
    assert isinstance(model, Encoder)
    assert (model.sample_rate, model.hop, model.receptive_field, model.dim, model.num_layers) == (
        16000,
        320,
        400,
        39,
        0,
    )
    assert not model.state_dict()
    layers, _ = model.layers(noise(1000).float(), upto=0)
    assert len(layers) == 1 and torch.equal(layers[0], model(noise(1000).float())[0])
    with pytest.raises(ValueError, match="layer 1"):
        model.layers(noise(1000).float(), upto=1)


@pytest.mark.parametrize("values", [{"high_freq": 9000.0}, {"num_ceps": 24}, {"deltas": -1}, {"hop_ms": 0.0}])
def test_settings_without_meaning_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|range"):
        Config(**values)


def test_what_inference_computed_first_has_gradients_after_it() -> None:
    encoder = Model(Config(num_ceps=11))
    with torch.inference_mode():
        encoder(torch.randn(1, 4000))
    wav = torch.randn(1, 4000, requires_grad=True)
    encoder(wav)[0].square().sum().backward()
    assert wav.grad is not None and wav.grad.isfinite().all()
