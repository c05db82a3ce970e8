"""BEST-RQ (arXiv:2202.01855): spans of the signal are replaced by noise, and what a random quantizer makes of the clean
signal is predicted there.

differs: the paper's encoder reads log-mel frames, four of which (10 ms each) become one frame of a Conformer, and its
masks and noise are laid over them. Here encoders read the waveform: masks are drawn for the encoder's frames, and noise
replaces all samples that masked frames see, scaled to the utterance: N(0, 0.1) of a signal of unit variance. The
quantizer stacks the log-mel frames of one frame of the encoder, two instead of four. Channels are normalised over the
utterance.

B utterances, S samples, T frames, V codes, N masked frames.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch, generator
from speechssl.errors import ConfigError
from speechssl.nn.lengths import valid_mask, valid_or_none, zero_padding
from speechssl.nn.mel import log_mel, normalize_over_time
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.nn.start_mask import StartMask, start_mask
from speechssl.objectives import Outcome
from speechssl.quantizers.random_projection import RandomProjectionQuantizer


def code_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Section 3: the negative log likelihood of codes [N] under logits [N, V], summed over masked frames."""
    return F.cross_entropy(logits.float(), codes, reduction="sum")


def covered_samples(mask: Tensor, *, num_samples: int, hop: int, window: int, history: int = 0) -> Tensor:
    """Which of [B, S] samples masked frames [B, T] see: frame t sees hop * t - history .. hop * t + window - 1."""
    if history:
        wider = covered_samples(mask, num_samples=num_samples + history, hop=hop, window=window + history)
        return wider[:, history:]
    starts = mask.repeat_interleave(hop, 1)  # the first `hop` samples of each frame
    covered = torch.zeros(len(mask), num_samples, dtype=torch.bool, device=mask.device)
    for offset in {*range(0, max(1, window - hop), hop), max(0, window - hop)}:
        shifted = F.pad(starts, (offset, num_samples))[:, :num_samples]
        covered |= shifted
    return covered


def signal_noise(wav: Tensor, lengths: Tensor, seeds: Tensor) -> Tensor:
    """Normal noise [B, S] with the standard deviation of each utterance's real samples; wav [B, S], zero behind."""
    noise = torch.zeros_like(wav)
    for row, (length, seed) in enumerate(zip(lengths.tolist(), seeds.tolist(), strict=True)):
        if length:
            drawn = torch.randn(length, generator=generator(seed ^ 3, wav.device), device=wav.device)
            noise[row, :length] = drawn.to(wav) * wav[row, :length].std(correction=0)
    return noise


@dataclass(frozen=True)
class Config:
    """The paper's settings for LibriSpeech, with times instead of the counts of 10 ms frames."""

    mask: StartMask = field(default_factory=lambda: StartMask(start=0.02, span=20))  # the paper: 0.01, 40 of 10 ms
    noise: float = 0.1  # standard deviation, of the signal's own
    entries: int = 8192  # V
    code_dim: int = 16
    num_mels: int = 80
    stack: int = 2  # log-mel frames of one frame of the encoder
    quantizer_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what predicts nothing."""
        if min(self.code_dim, self.num_mels, self.stack) < 1 or self.entries < 2 or self.noise < 0:
            raise ConfigError(f"best_rq needs code_dim, num_mels, stack >= 1, entries >= 2, noise >= 0, got {self}")


class Objective(nn.Module):
    """Masked prediction of random codes. Works with any encoder of waveforms."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        hop = encoder.conv.hop
        if hop % config.stack:
            raise ConfigError(f"stack={config.stack} must divide the encoder's hop of {hop} samples")
        self.quantizer = RandomProjectionQuantizer(
            config.num_mels * config.stack, entries=config.entries, dim=config.code_dim, seed=config.quantizer_seed
        )
        self.prediction = nn.Linear(encoder.dim, config.entries)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over masked frames; counts them."""
        conv, lengths = self.encoder.conv, batch.lengths
        wav = zero_padding(batch.wav, valid_or_none(lengths, batch.wav.shape[1]))
        frames = conv.frame_lengths(lengths)
        mask = start_mask(self.config.mask, frames, int(frames.max()), batch.seeds)
        codes = self.codes(wav, lengths, frames)
        x, _ = self.encoder(self.noisy(wav, batch, mask), lengths)
        x = x[:, : mask.shape[1]]
        logits = self.prediction(x[mask])
        count = int(mask.sum())
        loss = code_loss(logits, codes[mask])
        valid = valid_mask(frames, mask.shape[1])
        scalars: dict[str, Tensor | float] = {
            "masked_loss": loss.detach() / max(1, count),
            "accuracy": (logits.argmax(-1) == codes[mask]).sum() / max(1, count),
            "masked_share": count / max(1, int(valid.sum())),
        }
        return Outcome(loss, count, scalars, x[valid].detach(), codes[valid])

    def codes(self, wav: Tensor, lengths: Tensor, frames: Tensor) -> Tensor:
        """Targets [B, T] of wav [B, S]; `frames` [B] are the encoder's counts."""
        config, conv = self.config, self.encoder.conv
        with torch.no_grad(), torch.autocast(wav.device.type, enabled=False):
            mel = log_mel(wav, lengths, num_frames=int(frames.max()) * config.stack, hop=conv.hop // config.stack,
                          num_mels=config.num_mels, sample_rate=self.encoder.sample_rate)  # fmt: skip
            mel = normalize_over_time(mel, frames * config.stack)
            return self.quantizer.encode(mel.unflatten(1, (-1, config.stack)).flatten(2))

    def noisy(self, wav: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        """wav with noise wherever a masked frame looks."""
        conv = self.encoder.conv
        covered = covered_samples(mask, num_samples=wav.shape[1], hop=conv.hop, window=conv.receptive_field,
                                  history=conv.history)  # fmt: skip
        noise = signal_noise(wav, batch.lengths, batch.seeds)
        return torch.where(covered, self.config.noise * noise, wav)

    def after_step(self, step: int) -> None:
        """Nothing to do."""
