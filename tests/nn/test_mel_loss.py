"""The multi-resolution mel distance, against a loop over frames and filters."""

import math

import pytest
import torch
from torch import Tensor

from speechssl.nn.mel_loss import log10_mel, multi_scale_mel_loss


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_log10_mel(wav: Tensor, window: int, num_mels: int, rate: int) -> Tensor:
    """wav [S]: a DFT by its definition, triangles by their corners in hertz."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    corners = [top * i / (num_mels + 1) for i in range(num_mels + 2)]
    padded = torch.cat([torch.zeros(window // 2), wav, torch.zeros(window // 2)]).double()
    n = torch.arange(window, dtype=torch.float64)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * n / window)
    rows = []
    for start in range(0, len(padded) - window + 1, window // 4):
        piece = padded[start : start + window] * hann
        mags = []
        for k in range(window // 2 + 1):
            angle = 2 * math.pi * k * n / window
            mags.append(float(((piece * torch.cos(angle)).sum() ** 2 + (piece * torch.sin(angle)).sum() ** 2).sqrt()))
        row = []
        for m in range(num_mels):
            left, middle, right = corners[m : m + 3]
            total = 0.0
            for k, mag in enumerate(mags):
                mel = 2595 * math.log10(1 + k * rate / window / 700)
                total += mag * max(0.0, min((mel - left) / (middle - left), (right - mel) / (right - middle)))
            row.append(math.log10(max(total, 1e-5)))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def test_log_mels_and_their_distance_equal_slow_forms() -> None:
    one, other = noise(2, 150), noise(2, 150, seed=1)
    expected = torch.zeros((), dtype=torch.float64)
    for window, mels in ((32, 5), (64, 10)):
        slow = [torch.stack([slow_log10_mel(row, window, mels, 16_000) for row in wav]) for wav in (one, other)]
        torch.testing.assert_close(
            log10_mel(one, window=window, num_mels=mels, sample_rate=16_000), slow[0], atol=1e-6, rtol=1e-6
        )
        expected += (slow[0] - slow[1]).abs().mean()
    found = multi_scale_mel_loss(one, other, sample_rate=16_000, windows=(32, 64), num_mels=(5, 10))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_the_same_waveform_has_no_distance_and_ten_times_as_loud_one_per_resolution() -> None:
    wav = noise(1, 3000)
    assert float(multi_scale_mel_loss(wav, wav, sample_rate=16_000)) == 0
    louder = multi_scale_mel_loss(wav, 10 * wav, sample_rate=16_000, windows=(64, 128), num_mels=(10, 20))
    assert float(louder) == pytest.approx(2, abs=1e-3)


def test_silence_has_a_finite_distance_and_gradient() -> None:
    quiet = torch.zeros(1, 4096, requires_grad=True)
    loss = multi_scale_mel_loss(noise(1, 4096).float(), quiet, sample_rate=16_000)
    loss.backward()
    assert bool(loss.isfinite()) and bool(quiet.grad.isfinite().all())


def test_the_gradient_is_that_of_finite_differences() -> None:
    target, wav = noise(1, 40), noise(1, 40, seed=2).requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return multi_scale_mel_loss(target, x, sample_rate=16_000, windows=(32,), num_mels=(5,))

    loss(wav).backward()
    for sample in (0, 7, 39):
        step = torch.zeros(1, 40, dtype=torch.float64)
        step[0, sample] = 1e-6
        with torch.no_grad():
            slope = float(loss(wav + step) - loss(wav - step)) / 2e-6
        assert float(wav.grad[0, sample]) == pytest.approx(slope, rel=1e-4)
