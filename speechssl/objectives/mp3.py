"""MP3, position prediction (arXiv:2207.07611): from frames without positions, tell where each of them was.

A share of the frames is context: only they are keys and values of the attention, in all blocks. Every frame tells its
own place. The convolutional positional embedding would give the answer away and is left out: its weights are set to
zero and stay so, so that the encoder that is kept gives what was trained. Fine-tuning may free them.

differs: utterances are of different lengths, so the softmax is over the positions of the utterance; frames of the
convolutions overlap (25 ms windows every 20 ms), which the paper's patches of an image do not.

B utterances, T frames, P positions, N frames of all utterances.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from speechssl.nn.gradients import scale_gradient
from speechssl.nn.lengths import valid_mask
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome


def within(logits: Tensor, lengths: Tensor) -> Tensor:
    """logits [N, P] with -inf at places that an utterance of lengths [N] frames does not have, float32."""
    places = torch.arange(logits.shape[1], device=logits.device)
    return logits.float().masked_fill(places >= lengths.unsqueeze(1), float("-inf"))


def position_loss(logits: Tensor, positions: Tensor) -> Tensor:
    """The negative log likelihood of positions [N] under logits [N, P], summed."""
    return F.cross_entropy(logits, positions, reduction="sum")


def context_mask(lengths: Tensor, num_frames: int, hidden: float, seeds: Tensor) -> Tensor:
    """[B, num_frames] True at context frames: all but a share of `hidden`, rounded, and at least one; by seeds [B]."""
    mask = np.zeros((len(lengths), num_frames), dtype=bool)
    for row, length, seed in zip(mask, lengths.tolist(), seeds.tolist(), strict=True):
        count = max(1, round(length * (1 - hidden)))
        row[np.random.default_rng(seed).permutation(length)[:count]] = True
    return torch.from_numpy(mask).to(lengths.device)


@dataclass(frozen=True)
class Config:
    """How much is hidden."""

    hidden: float = 0.75  # η: share of frames that are queries only
    max_positions: int = 1000  # P; 20 s at 50 frames a second
    gradient: float = 1.0  # of the convolutions' gradient

    def __post_init__(self) -> None:
        """Refuse what leaves no context."""
        if not 0 <= self.hidden < 1 or self.max_positions < 2:
            raise ConfigError(f"mp3 needs 0 <= hidden < 1 and max_positions >= 2, got {self}")


class Objective(nn.Module):
    """Classification of each frame's place. For encoders whose attention knows no positions of its own."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        attends = encoder.attends and encoder.transformer.positions(2) is None
        if encoder.hop != encoder.conv.hop or not attends:
            raise ConfigError("mp3 needs attention, and no positions but those of a convolutional embedding, "
                              "as in wav2vec2 or hubert")  # fmt: skip
        self.encoder = encoder
        self.config = config
        with torch.no_grad():
            for parameter in encoder.pos_conv.parameters():
                parameter.requires_grad_(False).zero_()
        self.prediction = nn.Linear(encoder.dim, config.max_positions)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over all frames; counts them."""
        config, encoder = self.config, self.encoder
        lengths = encoder.conv.frame_lengths(batch.lengths)
        longest = int(lengths.max())
        if longest > config.max_positions:
            raise DataError(f"{longest} frames are more than settings.max_positions={config.max_positions}: raise it, "
                            "or make data.batching.crop_s shorter")  # fmt: skip
        features = scale_gradient(encoder.conv(batch.wav, batch.lengths), config.gradient)
        projected = encoder.projection(features)
        context = context_mask(lengths, projected.shape[1], config.hidden, batch.seeds)
        x = encoder.transformer(projected, context)
        valid = valid_mask(lengths, x.shape[1])
        positions = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)[valid]
        logits = within(self.prediction(x[valid]), lengths.unsqueeze(1).expand(-1, x.shape[1])[valid])
        count = len(logits)
        loss = position_loss(logits, positions)
        told = logits.argmax(-1)
        scalars: dict[str, Tensor | float] = {
            "position_loss": loss.detach() / max(1, count),
            "accuracy": (told == positions).sum() / max(1, count),
            "distance": (told - positions).abs().sum() / max(1, count),  # frames
        }
        return Outcome(loss, count, scalars, x[valid].detach(), told)

    def after_step(self, step: int) -> None:
        """Nothing to do."""
