"""How far two waveforms are apart as log-mel spectrograms of several resolutions: what codecs and vocoders learn from.

The Descript codec's form (arXiv:2306.06546 and its released settings): the mean absolute difference of
log10 mel magnitudes, summed over resolutions. HiFi-GAN's (eq. (3) of arXiv:2010.05646) is that of one.

differs: mel filters of height 1 on HTK's scale, where the released code has Slaney's; frames at the ends see silence
beyond them, where it has a mirror.

B utterances, S samples, T frames, M mel bins.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.nn.mel import mel_filters

WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)  # samples
NUM_MELS = (5, 10, 20, 40, 80, 160, 320)
_FLOOR = 1e-5  # of mel magnitude, under the logarithm


def multi_scale_mel_loss(
    one: Tensor, other: Tensor, *, sample_rate: int, windows: Sequence[int] = WINDOWS,
    num_mels: Sequence[int] = NUM_MELS,
) -> Tensor:  # fmt: skip
    """The sum over resolutions of mean |log10 mel(one) - log10 mel(other)| of waveforms [B, S], none of them padded."""
    total = one.new_zeros(())
    for window, mels in zip(windows, num_mels, strict=True):
        pair = [log10_mel(wav, window=window, num_mels=mels, sample_rate=sample_rate) for wav in (one, other)]
        total = total + (pair[0] - pair[1]).abs().mean()
    return total


def log10_mel(wav: Tensor, *, window: int, num_mels: int, sample_rate: int) -> Tensor:
    """log10 of mel-filtered magnitude [B, T, M] of wav [B, S], four frames per Hann window, the first around sample 0.

    window: samples, a power of two.
    """
    with torch.autocast(wav.device.type, enabled=False):
        wav = F.pad(wav.to(torch.promote_types(wav.dtype, torch.float32)), (window // 2, window // 2))
        shape = torch.hann_window(window, device=wav.device, dtype=wav.dtype)
        spectrum = torch.view_as_real(torch.fft.rfft(wav.unfold(1, window, window // 4) * shape))
        magnitude = spectrum.square().sum(-1).clamp_min(1e-14).sqrt()  # a square root has no gradient at 0
        return (magnitude @ mel_filters(num_mels, window, sample_rate).to(magnitude)).clamp_min(_FLOOR).log10()
