"""Kaldi's filter bank as a front end: log-mel frames, 100 a second, each seeing 25 ms.

What fairseq's speech-to-text and speech-to-unit models read (arXiv:2010.05171, arXiv:2107.05604): 80 bins, then each
bin's mean and variance of the utterance ("utterance", ε of 1e-10 under the root) or of a corpus ("global") taken out.

B utterances, S samples, T frames, M mel bins.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.kaldi_mel import KaldiMel, log_mels, shaped, without_offset
from speechssl.nn.lengths import frame_lengths, valid_or_none, zero_padding
from speechssl.nn.mel import mel_moments
from speechssl.nn.windows import Grid, RunningMoments

Cmvn = Literal["none", "utterance", "global"]

_WINDOW_MS, _HOP_MS = 25, 10
_LEAST_VARIANCE = 1e-10
_BLOCK_FRAMES = 256  # worked on at once, see encoders.mfcc
_WINDOW_FRAMES = 4096  # of a long recording at once, for its moments


class FbankFrontEnd(nn.Module):
    """Waveform [B, S] in [-1, 1] to frames [B, T, M]; offers what `nn.conv.ConvStack` does. In float64 inside."""

    def __init__(self, *, num_mels: int, sample_rate: int, cmvn: Cmvn = "utterance") -> None:
        super().__init__()
        if not 1 <= num_mels <= 1000 or sample_rate % 200 or not 1000 <= sample_rate <= 192_000:
            raise ConfigError(f"a filter bank needs num_mels in 1..1000 and a sample_rate in 1000..192000 that is a "
                              f"multiple of 200, got {num_mels} and {sample_rate}")  # fmt: skip
        self.num_mels, self.sample_rate, self.cmvn = num_mels, sample_rate, cmvn
        self.receptive_field, self.hop = sample_rate * _WINDOW_MS // 1000, sample_rate * _HOP_MS // 1000
        self.dim = num_mels
        self.settings = KaldiMel(sample_rate, self.receptive_field, num_mels)
        if cmvn == "global":  # of a corpus, loaded with the weights
            self.register_buffer("mean", torch.zeros(num_mels))
            self.register_buffer("std", torch.ones(num_mels))

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, int64 of any shape."""
        return frame_lengths(lengths, kernel=self.receptive_field, stride=self.hop)

    def forward(self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None) -> Tensor:
        """Frames of wav [B, S]; lengths [B] are real samples (all of S by default).

        Frames beyond an utterance's own are zero. `moments` [1, M]: those of a whole recording of which `wav` is a
        piece.
        """
        if lengths is None:
            lengths = torch.full((len(wav),), wav.shape[1], device=wav.device)
        wav = zero_padding(wav, valid_or_none(lengths, wav.shape[1]))  # padding may hold anything, NaN included
        frames, counts = self._mels(wav), self.frame_lengths(lengths)
        match self.cmvn:
            case "utterance":
                moments = moments or mel_moments(frames, counts)
                scale = moments.var.to(frames).clamp_min(_LEAST_VARIANCE).rsqrt()
                frames = (frames - moments.mean.unsqueeze(1).to(frames)) * scale.unsqueeze(1)
            case "global":
                frames = (frames - self.mean.to(frames)) / self.std.to(frames)
        return zero_padding(frames, valid_or_none(counts, frames.shape[1])).to(wav.dtype)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """Moments [1, M] float64 of a recording in blocks [S], for `moments=` with its pieces."""
        if self.cmvn != "utterance":
            return None
        running = RunningMoments(self.num_mels)
        for window in Grid(self.receptive_field, self.hop, _WINDOW_FRAMES, 0).windows(blocks):
            running.update(self._mels(window.samples.unsqueeze(0))[0, window.keep])
        return Moments(running.mean[None], running.covariance().diagonal()[None])

    def _mels(self, wav: Tensor) -> Tensor:
        """[B, T, M] float64."""
        if wav.shape[1] < self.receptive_field:
            return wav.new_zeros(len(wav), 0, self.num_mels, dtype=torch.float64)
        windows = wav.unfold(1, self.receptive_field, self.hop)
        blocks = [log_mels(shaped(without_offset(block), self.settings), self.settings)
                  for block in windows.split(_BLOCK_FRAMES, dim=1)]  # fmt: skip
        return torch.cat(blocks, dim=1)
