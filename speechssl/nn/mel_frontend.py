"""A cheap front end without weights: log-mel frames, 100 a second, two of which make one frame of the encoder.

As in MelHuBERT (arXiv:2211.09944). Every mel channel of an utterance has zero mean and unit variance over its frames,
so that neither the level nor a fixed colour of the recording matters.

differs: frames are as many as those of the wav2vec 2.0 stack, floor((S - 400) / 320) + 1: frame t sees the windows of
400 samples that begin at samples 320 t - 160 and 320 t, with silence before the recording. MelHuBERT's second window
begins later instead.

B utterances, S samples, T frames, M mel channels, C = 2 M.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.lengths import frame_lengths, valid_or_none
from speechssl.nn.mel import log_mel, mel_moments, normalize_with
from speechssl.nn.windows import Grid, RunningMoments

_STACK = 2
_WINDOW_MS, _HOP_MS = 25, 10
_FLOOR = 1e-6  # of power under the logarithm: digital silence is no further away than a quiet room
_WINDOW_FRAMES = 4096  # of a long recording at once, for its moments


def check_mel(family: str, num_mels: int, sample_rate: int) -> None:
    """ConfigError where a `MelFrontEnd` cannot be built for an encoder of this family."""
    if not 1 <= num_mels <= 1000 or sample_rate % 100:
        raise ConfigError(f"{family} needs num_mels in 1..1000 and a sample_rate that is a multiple of 100, got "
                          f"{num_mels} and {sample_rate}")  # fmt: skip


class MelFrontEnd(nn.Module):
    """Waveform [B, S] to frames [B, T, C]; offers what `nn.conv.ConvStack` does. Computes in float32 or wider."""

    def __init__(self, *, num_mels: int, sample_rate: int) -> None:
        super().__init__()
        self.num_mels, self.sample_rate = num_mels, sample_rate
        self.window, self.step = sample_rate * _WINDOW_MS // 1000, sample_rate * _HOP_MS // 1000
        self.receptive_field, self.hop = self.window, _STACK * self.step
        self.history = (_STACK - 1) * self.step  # samples before its own that a frame sees
        self.dim = _STACK * num_mels

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, int64 of any shape."""
        return frame_lengths(lengths, kernel=self.receptive_field, stride=self.hop)

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None,
        change: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """Frames of wav [B, S]; lengths [B] are real samples (all of S by default).

        Frames beyond an utterance's own are finite but mean nothing. `moments` [1, M]: those of a whole recording of
        which `wav` is a piece. `change`: done to log-mel frames [B, 2 T, M], given with their counts [B], before they
        are normalised.
        """
        if lengths is None:
            lengths = torch.full((len(wav),), wav.shape[1], device=wav.device)
        mel, counts = self._mel(wav, lengths), self.frame_lengths(lengths) * _STACK
        if change is not None:
            mel = change(mel, counts)
        if moments is None:
            moments = mel_moments(mel, counts)
        return normalize_with(mel, moments).unflatten(1, (-1, _STACK)).flatten(2).to(wav.dtype)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments:
        """Moments [1, M] float64 of a recording in blocks [S], for `moments=` with its pieces."""
        running = RunningMoments(self.num_mels)
        for window in Grid(self.receptive_field, self.hop, _WINDOW_FRAMES, 1).windows(blocks):
            samples = window.samples.unsqueeze(0)
            mel = self._mel(samples, torch.tensor([samples.shape[1]], device=samples.device))
            running.update(mel[0].unflatten(0, (-1, _STACK))[window.keep].flatten(0, 1))
        return Moments(running.mean[None], running.covariance().diagonal()[None])

    def _mel(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """[B, 2 T, M]."""
        num_frames = _STACK * int(self.frame_lengths(torch.tensor(wav.shape[1])))
        valid = valid_or_none(lengths, wav.shape[1])
        wav = wav if valid is None else wav.masked_fill(~valid, 0)  # before 0 * nan
        with torch.autocast(wav.device.type, enabled=False):
            return log_mel(F.pad(wav, (self.history, 0)), lengths + self.history, num_frames=num_frames, hop=self.step,
                           window=self.window, num_mels=self.num_mels, sample_rate=self.sample_rate,
                           floor=_FLOOR)  # fmt: skip
