"""Kaldi-compatible MFCCs with deltas as an encoder without weights: 13 cepstra -> 39 channels at 50 Hz by default.

Feature extraction as Kaldi's `compute-mfcc-feats --dither=0 | add-deltas`, with Kaldi's own defaults: Povey window,
DC offset removed, pre-emphasis 0.97, 23 HTK-mel bins from 20 Hz to Nyquist, lifter 22, and C0 replaced by the log of
the raw frame energy (`use_energy=True, raw_energy=True, energy_floor=0`; fairseq's HuBERT teacher has
`use_energy=False`). The delta-deltas are Kaldi's too: one 9-tap filter over the statics with the edge frames
repeated, not the 5-tap filter twice; the two differ in the outer two frames.

The default window (25 ms) and hop (20 ms) are the receptive field and hop of wav2vec 2.0, so both give the same
number of frames. differs: Kaldi's hop is 10 ms. All arithmetic is float64, so that features do not depend on how
utterances are batched or cut into blocks; the result has the waveform's dtype.

B utterances, S samples, T frames, W samples per window, C channels.
"""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.kaldi_mel import EPSILON, KaldiMel, log_mels, shaped, without_offset
from speechssl.nn.lengths import frame_lengths, valid_mask, valid_or_none, wav_lengths, zero_padding
from speechssl.nn.windows import Grid, RunningMoments

_BLOCK_FRAMES = 256  # frames worked on at once: what fits into the cache is 1.6 times as fast, and bounds memory
_WINDOW_FRAMES = 4096  # of a long recording at once, for its moments


@dataclass(frozen=True)
class Config:
    """The names and defaults of Kaldi's options, except `hop_ms` (Kaldi: 10 ms)."""

    sample_rate: int = 16000
    window_ms: float = 25.0
    hop_ms: float = 20.0
    num_mels: int = 23
    num_ceps: int = 13
    low_freq: float = 20.0  # Hz
    high_freq: float = 0.0  # Hz; 0 or less: below Nyquist by this much
    preemphasis: float = 0.97
    cepstral_lifter: float = 22.0  # 0: none
    use_energy: bool = True  # log energy in place of C0
    raw_energy: bool = True  # energy before pre-emphasis and window
    energy_floor: float = 0.0  # of waveforms in 16-bit units; 0: none
    deltas: int = 2  # orders appended: C = num_ceps * (1 + deltas)
    delta_window: int = 2  # frames each side, per order
    cmvn: bool = False  # each channel of an utterance to zero mean and unit variance, deltas included

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not 1 <= self.num_ceps <= self.num_mels:
            raise ConfigError(f"num_ceps={self.num_ceps} must be 1..num_mels={self.num_mels}")
        if self.num_mels > 1000 or self.sample_rate > 192_000 or self.deltas * self.delta_window > 100:
            raise ConfigError("num_mels is at most 1000, sample_rate 192000, deltas times delta_window 100")
        if self.deltas < 0 or self.delta_window < 1:
            raise ConfigError(f"deltas={self.deltas} must be >= 0 and delta_window={self.delta_window} >= 1")
        if not (0 < self.window_ms < 10_000 and 0 < self.hop_ms < 10_000):
            raise ConfigError(f"window_ms={self.window_ms} and hop_ms={self.hop_ms} must each be within 0..10000")
        if min(round(self.sample_rate * self.window_ms / 1000), round(self.sample_rate * self.hop_ms / 1000)) < 1:
            raise ConfigError(f"window_ms={self.window_ms} and hop_ms={self.hop_ms} must each be at least one sample")
        _ = self.mel  # refuses a range without meaning

    @property
    def mel(self) -> KaldiMel:
        """The filter bank under the cepstra."""
        window = round(self.sample_rate * self.window_ms / 1000)
        return KaldiMel(self.sample_rate, window, self.num_mels, self.low_freq, self.high_freq, self.preemphasis)


class Model(nn.Module):
    """MFCCs of waveforms in [-1, 1] (scaled to 16-bit units inside, as Kaldi reads them). No parameters, no blocks."""

    num_layers = 0

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.receptive_field = round(config.sample_rate * config.window_ms / 1000)
        self.hop = round(config.sample_rate * config.hop_ms / 1000)
        self.dim = config.num_ceps * (1 + config.deltas)
        self.reach = config.deltas * config.delta_window  # frames to either side that a frame's deltas see

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """MFCCs [B, T, C] of wav [B, S] and frame counts [B]; frames behind an utterance's end are zero.

        `moments` are those of a whole recording of which `wav` is a piece, for `cmvn`.
        """
        frames, counts = self.statics(wav, lengths)
        frames = add_deltas(frames, counts, order=self.config.deltas, window=self.config.delta_window)
        if self.config.cmvn:
            frames = normalize_channels(frames, moments or channel_moments(frames, counts))
        return zero_padding(frames, valid_or_none(counts, frames.shape[1])).to(wav.dtype), counts

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """`[forward(wav)]`, the only layer there is; ConfigError for any other than layer 0."""
        if upto not in (None, 0):
            raise ConfigError(f"layer {upto} does not exist: MFCCs have layer 0 only")
        frames, counts = self(wav, lengths, moments=moments)
        return [frames], counts

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames for sample counts: floor((S - receptive_field) / hop) + 1, at least 0 (Kaldi's snip-edges)."""
        return frame_lengths(lengths, kernel=self.receptive_field, stride=self.hop)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """Moments [1, C] of a recording in blocks [S], for `moments=` with its pieces; None without cmvn.

        One pass in windows, whose frames are exact: deltas see a few frames to either side, nothing more.
        """
        if not self.config.cmvn:
            return None
        plain = Model(replace(self.config, cmvn=False))
        running = RunningMoments(self.dim)
        for window in Grid(self.receptive_field, self.hop, _WINDOW_FRAMES, self.reach).windows(blocks):
            running.update(plain(window.samples.double().unsqueeze(0))[0][0, window.keep])
        return Moments(running.mean[None], running.covariance().diagonal()[None])

    def statics(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The cepstra without deltas, [B, T, num_ceps] float64, and frame counts [B]; padded frames mean nothing."""
        lengths = wav_lengths(wav, lengths)
        wav = zero_padding(wav, valid_or_none(lengths, wav.shape[1]))  # padding may hold anything, NaN included
        if wav.shape[1] < self.receptive_field:
            blocks = [wav.new_zeros((len(wav), 0, self.config.num_ceps), dtype=torch.float64)]
        else:
            windows = wav.unfold(1, self.receptive_field, self.hop)
            blocks = [_cepstra(block, self.config) for block in windows.split(_BLOCK_FRAMES, dim=1)]
        return torch.cat(blocks, dim=1), self.frame_lengths(lengths)


def add_deltas(frames: Tensor, lengths: Tensor, *, order: int, window: int) -> Tensor:
    """frames [B, T, C] with their deltas of 1..order behind them, [B, T, C * (1 + order)] (Kaldi's `add-deltas`).

    Order k is the k-fold convolution of the filter j / sum(j^2), j = -window..window; the first and last real frames
    stand in for what lies outside the utterance.
    """
    last = (lengths - 1).clamp_min(0).unsqueeze(1)
    times = torch.arange(frames.shape[1], device=frames.device)
    outputs = [frames]
    for scales in _delta_filters(order, window)[1:]:
        reach = len(scales) // 2
        delta = torch.zeros_like(frames)
        for offset, scale in zip(range(-reach, reach + 1), scales, strict=True):
            index = torch.minimum((times + offset).clamp_min(0), last).unsqueeze(2).expand_as(frames)
            delta += scale * frames.gather(1, index)
        outputs.append(delta)
    return torch.cat(outputs, dim=2)


def channel_moments(frames: Tensor, lengths: Tensor) -> Moments:
    """Mean and variance [B, C] of each channel over an utterance's real frames."""
    valid = valid_mask(lengths, frames.shape[1]).unsqueeze(2)
    count = lengths.clamp_min(1).unsqueeze(1)
    mean = (frames * valid).sum(1) / count
    return Moments(mean, ((frames - mean.unsqueeze(1)) * valid).square().sum(1) / count)


def normalize_channels(frames: Tensor, moments: Moments) -> Tensor:
    """frames [B, T, C] with zero mean and unit variance per channel; a channel that never changes becomes 0.

    differs: Kaldi subtracts the mean only, and before the deltas; here all channels weigh the same in a k-means.
    """
    scale = moments.var.clamp_min(EPSILON).rsqrt()
    return (frames - moments.mean.unsqueeze(1)) * scale.unsqueeze(1)


def _cepstra(windows: Tensor, config: Config) -> Tensor:
    """Cepstra [B, T, num_ceps] float64 of windows [B, T, W]."""
    samples = without_offset(windows)
    energy = samples.square().sum(-1)
    samples = shaped(samples, config.mel)
    if not config.raw_energy:
        energy = samples.square().sum(-1)
    cepstra = log_mels(samples, config.mel) @ _liftered_dct(config).to(samples.device)
    if config.use_energy:
        cepstra[..., 0] = energy.clamp_min(max(EPSILON, config.energy_floor)).log()
    return cepstra


@functools.cache
@torch.inference_mode(False)  # kept: gradients may be wanted after inference
def _liftered_dct(config: Config) -> Tensor:
    """Orthonormal DCT-II times the cepstral lifter, [num_mels, num_ceps]."""
    orders = torch.arange(config.num_ceps, dtype=torch.float64)
    positions = (torch.arange(config.num_mels, dtype=torch.float64) + 0.5).unsqueeze(1)
    cosines = torch.cos(math.pi / config.num_mels * positions * orders) * math.sqrt(2 / config.num_mels)
    cosines[:, 0] /= math.sqrt(2)
    if config.cepstral_lifter:
        cosines *= 1 + 0.5 * config.cepstral_lifter * torch.sin(math.pi * orders / config.cepstral_lifter)
    return cosines


def _delta_filters(order: int, window: int) -> list[list[float]]:
    first = [j / (2 * sum(i * i for i in range(1, window + 1))) for j in range(-window, window + 1)]
    filters = [[1.0]]
    for _ in range(order):
        wider = [0.0] * (len(filters[-1]) + 2 * window)
        for i, a in enumerate(filters[-1]):
            for j, b in enumerate(first):
                wider[i + j] += a * b
        filters.append(wider)
    return filters
