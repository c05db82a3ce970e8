"""Log-mel spectrograms of padded batches, in step with an encoder's frames.

B utterances, S samples, T frames, M mel bins.
"""

import functools
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.nn.conv import Moments
from speechssl.nn.lengths import valid_mask, valid_or_none, zero_padding

_FLOOR = 1e-10  # under the logarithm, of power: -100 dB of a full-scale signal
_SYNTHESIS_FLOOR = 1e-4  # the same of mels that are to be spoken


class MelShape(Protocol):
    """What mels that are to be spoken are like: a config that has these."""

    @property
    def num_mels(self) -> int:
        """M."""
        ...

    @property
    def hop(self) -> int:
        """Samples of a mel frame."""
        ...

    @property
    def window(self) -> int:
        """Samples that a mel frame looks at."""
        ...

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...


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
    shape = torch.hann_window(window, periodic=False, device=wav.device, dtype=wav.dtype)
    power = torch.view_as_real(torch.fft.rfft(windows * shape, n=fft_length)).square().sum(-1)
    filters = mel_filters(num_mels, fft_length, sample_rate).to(wav.device, power.dtype)
    return (power @ filters).clamp_min(floor).log()[:, :num_frames]


def centred_log_mel(wav: Tensor, lengths: Tensor, num_frames: int, shape: MelShape) -> Tensor:
    """`log_mel` of which frame t looks at `shape.window` samples around the middle of its hop: mels to be spoken.

    [B, num_frames, M] float32, whatever autocast says.
    """
    before = (shape.window - shape.hop) // 2
    with torch.autocast(wav.device.type, enabled=False):
        wav = F.pad(zero_padding(wav, valid_mask(lengths, wav.shape[1])), (before, 0))
        return log_mel(wav, lengths + before, num_frames=num_frames, hop=shape.hop, window=shape.window,
                       num_mels=shape.num_mels, sample_rate=shape.sample_rate, floor=_SYNTHESIS_FLOOR)  # fmt: skip


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
