"""Discriminators of waveforms, for codecs and vocoders: by period, by scale (HiFi-GAN) and by STFT (EnCodec).

arXiv:2010.05646, sections 2.3 and A; arXiv:2210.13438, section 3.4. All are weight-normalised and leaky by 0.1.
differs: HiFi-GAN has spectral norm at the first of its scales; EnCodec is leaky by 0.2.

B utterances, S samples, P the period, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechssl.errors import ConfigError
from speechssl.nn.adversarial import Judgement

_SLOPE = 0.1


@dataclass(frozen=True)
class Config:
    """Which discriminators there are; the defaults are the Descript codec's, with EnCodec's form of the STFT's.

    HiFi-GAN: periods (2, 3, 5, 7, 11), num_scales 3, fft_sizes ().
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    num_scales: int = 0
    fft_sizes: tuple[int, ...] = (2048, 1024, 512)
    width: float = 1.0  # share of the papers' channels (32 .. 1024)

    def __post_init__(self) -> None:
        """Refuse what judges nothing."""
        if not (self.periods or self.num_scales or self.fft_sizes):
            raise ConfigError("give at least one discriminator: periods, num_scales or fft_sizes")
        if min(self.periods, default=2) < 2 or self.num_scales < 0 or min(self.fft_sizes, default=16) < 16:
            raise ConfigError(f"discriminators need periods >= 2, num_scales >= 0, fft_sizes >= 16, got {self}")
        if not 0 < self.width <= 4:
            raise ConfigError(f"width is a share of the papers' channels, got {self.width}")

    @property
    def shortest(self) -> int:
        """Samples that a waveform must have at least."""
        return max(*self.fft_sizes, *self.periods, 64, 0)


class Discriminators(nn.Module):
    """All of a config."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.periods = nn.ModuleList(PeriodDiscriminator(period, width=config.width) for period in config.periods)
        self.scales = nn.ModuleList(ScaleDiscriminator(width=config.width) for _ in range(config.num_scales))
        self.spectra = nn.ModuleList(SpectrumDiscriminator(size, width=config.width) for size in config.fft_sizes)

    def forward(self, wav: Tensor) -> list[Judgement]:
        """Judgements of wav [B, S], none of it padding. ConfigError for fewer samples than the longest look needs."""
        if wav.shape[1] < self.config.shortest:
            raise ConfigError(f"discriminators need crops of at least {self.config.shortest} samples, got "
                              f"{wav.shape[1]}: make data.batching.crop_s longer, or fft_sizes smaller")  # fmt: skip
        judgements = [judge(wav) for judge in self.periods]
        pooled = wav
        for number, judge in enumerate(self.scales):
            pooled = F.avg_pool1d(pooled.unsqueeze(1), 4, 2, padding=2).squeeze(1) if number else pooled
            judgements.append(judge(pooled))
        return judgements + [judge(wav) for judge in self.spectra]


class PeriodDiscriminator(nn.Module):
    """Sees samples P apart: the waveform folded to [S / P, P], convolved along the first axis alone."""

    def __init__(self, period: int, *, width: float = 1.0) -> None:
        super().__init__()
        self.period = period
        sizes = _scaled((32, 128, 512, 1024, 1024), width)
        strides = (3, 3, 3, 3, 1)
        channels, layers = 1, []
        for size, stride in zip(sizes, strides, strict=True):
            layers.append(weight_norm(nn.Conv2d(channels, size, (5, 1), (stride, 1), padding=(2, 0))))
            channels = size
        self.layers = nn.ModuleList(layers)
        self.last = weight_norm(nn.Conv2d(channels, 1, (3, 1), padding=(1, 0)))

    def forward(self, wav: Tensor) -> Judgement:
        """Of wav [B, S]."""
        return _judge(fold(wav, self.period).unsqueeze(1), self.layers, self.last)


def fold(wav: Tensor, period: int) -> Tensor:
    """[B, ceil(S / P), P]: sample P * i + j at (i, j), the end mirrored where a row is not full."""
    missing = -wav.shape[1] % period
    if missing:
        wav = F.pad(wav, (0, missing), "reflect")
    return wav.unflatten(1, (-1, period))


class ScaleDiscriminator(nn.Module):
    """Grouped convolutions over the waveform, which is pooled before it gets here."""

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        sizes = _scaled((128, 128, 256, 512, 1024, 1024, 1024), width, multiple=16)
        shapes = ((15, 1, 1), (41, 2, 4), (41, 2, 16), (41, 4, 16), (41, 4, 16), (41, 1, 16), (5, 1, 1))
        channels, layers = 1, []
        for size, (kernel, stride, groups) in zip(sizes, shapes, strict=True):
            conv = nn.Conv1d(channels, size, kernel, stride, padding=kernel // 2, groups=groups)
            layers.append(weight_norm(conv))
            channels = size
        self.layers = nn.ModuleList(layers)
        self.last = weight_norm(nn.Conv1d(channels, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> Judgement:
        """Of wav [B, S]."""
        return _judge(wav.unsqueeze(1), self.layers, self.last)


class SpectrumDiscriminator(nn.Module):
    """Convolutions over time and frequency of a complex STFT, its real and imaginary part as two channels."""

    def __init__(self, fft_size: int, *, width: float = 1.0) -> None:
        super().__init__()
        self.fft_size = fft_size
        (size,) = _scaled((32,), width)
        layers: list[nn.Module] = [nn.Conv2d(2, size, (3, 9), padding=(1, 4))]
        layers += [
            nn.Conv2d(size, size, (3, 9), (1, 2), dilation=(dilation, 1), padding=(dilation, 4))
            for dilation in (1, 2, 4)
        ]
        layers.append(nn.Conv2d(size, size, 3, padding=1))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(nn.Conv2d(size, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> Judgement:
        """Of wav [B, S]; four frames per Hann window, scaled to keep the signal's power."""
        window = torch.hann_window(self.fft_size, device=wav.device, dtype=wav.dtype)
        frames = wav.unfold(1, self.fft_size, self.fft_size // 4) * window
        spectrum = torch.view_as_real(torch.fft.rfft(frames)) / window.square().sum().sqrt()
        return _judge(spectrum.permute(0, 3, 1, 2), self.layers, self.last)  # [B, 2, T, F]


def _judge(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), _SLOPE)
        features.append(x)
    scores = last(x)
    return Judgement(scores, (*features, scores))  # HiFi-GAN counts the scores among the features


def _scaled(sizes: Sequence[int], width: float, multiple: int = 1) -> list[int]:
    return [max(multiple, round(size * width / multiple) * multiple) for size in sizes]
