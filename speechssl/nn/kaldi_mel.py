"""Kaldi's log-mel filter bank, what MFCCs and fairseq's speech-to-text models start from.

As `compute-fbank-feats --dither=0`: waveforms in 16-bit units, DC offset removed, pre-emphasis, Povey window, power
spectrum, triangles that are equally spaced and linear in mel. All in float64.

T frames, W samples per window, M mel bins.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from speechssl.errors import ConfigError

EPSILON = torch.finfo(torch.float32).eps  # Kaldi's floor under every logarithm
SCALE = 32768  # from [-1, 1] to 16-bit units


@dataclass(frozen=True)
class KaldiMel:
    """The names and defaults of Kaldi's options, a window of 25 ms at 16 kHz."""

    sample_rate: int = 16_000
    window: int = 400  # samples
    num_mels: int = 23
    low_freq: float = 20.0  # Hz
    high_freq: float = 0.0  # Hz; 0 or less: below Nyquist by this much
    preemphasis: float = 0.97

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not 0 <= self.low_freq < self.top <= self.sample_rate / 2:
            raise ConfigError(f"mel range {self.low_freq}..{self.top} Hz does not lie in 0..{self.sample_rate / 2} Hz")

    @property
    def top(self) -> float:
        """Hz where the last triangle ends."""
        return self.high_freq if self.high_freq > 0 else self.sample_rate / 2 + self.high_freq


def without_offset(windows: Tensor) -> Tensor:
    """windows [..., W] in [-1, 1] as float64 in 16-bit units with a mean of 0."""
    samples = windows.double() * SCALE
    return samples - samples.mean(-1, keepdim=True)


def shaped(samples: Tensor, settings: KaldiMel) -> Tensor:
    """samples [..., W] behind pre-emphasis and window."""
    previous = torch.cat([samples[..., :1], samples[..., :-1]], dim=-1)
    return (samples - settings.preemphasis * previous) * _window(samples.shape[-1]).to(samples.device)


def log_mels(samples: Tensor, settings: KaldiMel) -> Tensor:
    """Natural logarithm of mel-filtered power [..., M] of what `shaped` gave."""
    fft_length = 1 << (samples.shape[-1] - 1).bit_length()
    power = torch.view_as_real(torch.fft.rfft(samples, n=fft_length)).square().sum(-1)
    return (power @ _filters(settings).to(samples.device)).clamp_min(EPSILON).log()


@functools.cache
@torch.inference_mode(False)  # kept: gradients may be wanted after inference
def _window(length: int) -> Tensor:
    """Povey's, float64. A cache, not a buffer: `model.half()` must not round it."""
    return torch.hann_window(length, periodic=False, dtype=torch.float64).pow(0.85)


@functools.cache
@torch.inference_mode(False)
def _filters(settings: KaldiMel) -> Tensor:
    """Triangles [F / 2 + 1, M] for an FFT of F samples; the Nyquist bin is unused."""

    def mel(hertz: Tensor | float) -> Tensor:
        return 1127.0 * torch.log1p(torch.as_tensor(hertz, dtype=torch.float64) / 700.0)

    fft_length = 1 << (settings.window - 1).bit_length()
    step = (mel(settings.top) - mel(settings.low_freq)) / (settings.num_mels + 1)
    left = mel(settings.low_freq) + step * torch.arange(settings.num_mels, dtype=torch.float64)
    bins = mel(torch.arange(fft_length // 2) * (settings.sample_rate / fft_length)).unsqueeze(1)
    rising, falling = (bins - left) / step, (left + 2 * step - bins) / step
    return F.pad(torch.minimum(rising, falling).clamp_min(0), (0, 0, 0, 1))
