"""Log-mel spectrograms of padded batches, in step with an encoder's frames.

B utterances, S samples, T frames, M mel bins.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.nn.conv import Moments
from speechssl.nn.lengths import valid_mask, valid_or_none, zero_padding

_FLOOR = 1e-10  # under the logarithm, of power: -100 dB of a full-scale signal


def log_mel(
    wav: Tensor, lengths: Tensor, *, num_frames: int, hop: int, window: int = 400, num_mels: int = 80,
    sample_rate: int = 16_000, floor: float = _FLOOR,
) -> Tensor:  # fmt: skip
    """Natural logarithm of mel-filtered power, [B, num_frames, M] float32 or wider of wav [B, S] with lengths [B].

    Frame t sees samples hop * t .. hop * t + window - 1 under a Hann window; behind an utterance's end is silence.
    floor: under the logarithm, of power.
    """
    wav = wav.to(torch.promote_types(wav.dtype, torch.float32))
    wav = zero_padding(wav, valid_or_none(lengths, wav.shape[1]))
    missing = max(0, num_frames - 1) * hop + window - wav.shape[1]
    windows = F.pad(wav, (0, max(0, missing))).unfold(1, window, hop)[:, : max(1, num_frames)]
    fft_length = 1 << (window - 1).bit_length()
    power = windowed_power(windows, fft_length)
    filters = mel_filters(num_mels, fft_length, sample_rate).to(wav.device, power.dtype)
    return (power @ filters).clamp_min(floor).log()[:, :num_frames]


def windowed_power(windows: Tensor, fft_length: int, *, periodic: bool = False) -> Tensor:
    """Power [..., fft_length / 2 + 1] of windows [..., N] of samples under a Hann window."""
    shape = torch.hann_window(windows.shape[-1], periodic=periodic, device=windows.device, dtype=windows.dtype)
    return torch.view_as_real(torch.fft.rfft(windows * shape, n=fft_length)).square().sum(-1)


def normalize_over_time(frames: Tensor, lengths: Tensor) -> Tensor:
    """Each channel of frames [B, T, C] to zero mean and unit variance over an utterance's lengths [B] real frames.

    A channel that never changes becomes 0, as does what is behind the end.
    """
    return zero_padding(normalize_with(frames, mel_moments(frames, lengths)), valid_mask(lengths, frames.shape[1]))


def mel_moments(frames: Tensor, lengths: Tensor) -> Moments:
    """Mean and variance [B, C] of each channel of frames [B, T, C] over lengths [B] real frames."""
    valid = valid_mask(lengths, frames.shape[1])
    count = lengths.clamp_min(1).unsqueeze(1)
    mean = zero_padding(frames, valid).sum(1) / count
    return Moments(mean, zero_padding(frames - mean.unsqueeze(1), valid).square().sum(1) / count)


def normalize_with(frames: Tensor, moments: Moments) -> Tensor:
    """frames [B, T, C] with zero mean and unit variance by moments [B, C] or [1, C]."""
    scale = moments.var.clamp_min(1e-5).rsqrt()
    return (frames - moments.mean.unsqueeze(1).to(frames)) * scale.unsqueeze(1).to(frames)


@functools.cache
@torch.inference_mode(False)  # kept: training may want them after inference
def mel_filters(num_mels: int, fft_length: int, sample_rate: int) -> Tensor:
    """Triangles of height 1, equally spaced from 0 Hz to Nyquist on HTK's mel scale, [fft_length / 2 + 1, M]."""
    bins = hertz_to_mel(torch.linspace(0, sample_rate / 2, fft_length // 2 + 1, dtype=torch.float64)).unsqueeze(1)
    step = bins[-1] / (num_mels + 1)
    left = step * torch.arange(num_mels, dtype=torch.float64)
    return torch.minimum((bins - left) / step, (left + 2 * step - bins) / step).clamp_min(0).float()


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """HTK's mel scale."""
    return 2595 * torch.log10(1 + hertz / 700)


def mel_to_hertz(mel: Tensor) -> Tensor:
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (mel / 2595) - 1)


@functools.cache
@torch.inference_mode(False)
def slaney_filters(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangles of area 1 over hertz, equally spaced on Slaney's mel scale, [fft_length / 2 + 1, M]: librosa's."""
    bins = torch.linspace(0, sample_rate / 2, fft_length // 2 + 1, dtype=torch.float64).unsqueeze(1)
    first, last = slaney_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64)).tolist()
    corners = slaney_hertz(torch.linspace(first, last, num_mels + 2, dtype=torch.float64))
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    triangles = torch.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)).clamp_min(0)
    return (triangles * (2 / (right - left))).float()


def slaney_mel(hertz: Tensor) -> Tensor:
    """Slaney's mel scale: linear to 1000 Hz, 15 mel, and from there 27 mel for every factor of 6.4."""
    return torch.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * (hertz.clamp_min(1000) / 1000).log() / math.log(6.4))


def slaney_hertz(mel: Tensor) -> Tensor:
    """The inverse of `slaney_mel`."""
    return torch.where(mel < 15, mel * 200 / 3, 1000 * ((mel.clamp_min(15) - 15) * math.log(6.4) / 27).exp())
