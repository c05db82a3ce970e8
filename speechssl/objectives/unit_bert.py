"""BERT over discrete units, as over vq-wav2vec's codes (arXiv:1910.05453, section 4) and DiscreteBERT
(arXiv:1911.03912): spans of units are replaced by a mask, and the units that were there are predicted.

Units come as `data.labels`, one per frame of `encoder`, which gives nothing but the frame rate here: it is not trained,
and what is learned is this objective's own (embeddings, transformer, output), kept in the run's checkpoints. Codes of
two codebooks are one unit each, the pair, as in the paper.

differs: sentences of two and next-sentence prediction are left out, as in the paper, and a masked unit is always
replaced by the mask, never by another unit or itself.

B utterances, T frames, C channels, V units, N masked frames.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.lengths import valid_mask, zero_padding
from speechssl.nn.prediction import frame_labels, prediction_loss
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.nn.start_mask import StartMask, start_mask
from speechssl.nn.transformer import Transformer
from speechssl.objectives import Outcome


@dataclass(frozen=True)
class Config:
    """BERT base, with the paper's masks."""

    num_labels: int  # V, taken from the labels
    mask: StartMask = field(default_factory=StartMask)
    dim: int = 768  # C
    ffn_dim: int = 3072
    num_layers: int = 12
    num_heads: int = 12
    max_positions: int = 2048
    dropout: Dropout = field(default_factory=lambda: Dropout(layer=0.0))

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.num_labels < 2 or min(self.dim, self.ffn_dim, self.num_layers, self.num_heads) < 1:
            raise ConfigError(f"unit_bert needs num_labels >= 2 and sizes >= 1, got {self}")
        if self.dim % self.num_heads or self.max_positions < 1:
            raise ConfigError(f"unit_bert: dim={self.dim} must be a multiple of num_heads={self.num_heads}, and "
                              f"max_positions={self.max_positions} at least 1")  # fmt: skip


class Objective(nn.Module):
    """Masked language modelling of units."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.config = config
        self.units = nn.Embedding(config.num_labels + 1, config.dim)  # the last one is the mask
        self.places = nn.Embedding(config.max_positions, config.dim)
        self.transformer = Transformer(
            dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers, num_heads=config.num_heads,
            norm_first=False,
        )  # fmt: skip
        self.hidden = nn.Linear(config.dim, config.dim)
        self.hidden_norm = nn.LayerNorm(config.dim)
        self.bias = nn.Parameter(torch.zeros(config.num_labels))
        for module in self.transformer.modules():
            if isinstance(module, nn.Linear):
                _bert_weights(module)
        for module in (self.units, self.places, self.hidden):
            _bert_weights(module)
        set_dropout(self.transformer, config.dropout)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over masked frames; counts them."""
        lengths = self.encoder.frame_lengths(batch.lengths)
        longest = int(lengths.max())
        labels = frame_labels(batch.labels, longest)
        valid = valid_mask(lengths, longest) & (labels >= 0)
        mask = start_mask(self.config.mask, valid.sum(1), longest, batch.seeds)
        x = self.states(torch.where(mask, self.config.num_labels, labels), valid)
        logits = self.logits(x[mask])
        count = len(logits)
        loss = prediction_loss(logits, labels[mask])
        codes = logits.argmax(-1)
        scalars: dict[str, Tensor | float] = {
            "masked_loss": loss.detach() / max(1, count),
            "accuracy": (codes == labels[mask]).sum() / max(1, count),
            "masked_share": count / max(1, int(valid.sum())),
        }
        return Outcome(loss, count, scalars, x[valid].detach(), codes)

    def states(self, units: Tensor, valid: Tensor) -> Tensor:
        """The last layer [B, T, C] for units [B, T], of which V is the mask; zeros where `valid` [B, T] is False."""
        num_frames = units.shape[1]
        if num_frames > self.config.max_positions:
            raise DataError(f"{num_frames} units are more than settings.max_positions={self.config.max_positions}: "
                            "raise it, or make data.batching.crop_s shorter")  # fmt: skip
        x = self.units(units.clamp_min(0)) + self.places.weight[:num_frames]
        return zero_padding(self.transformer(x, valid), valid)

    def logits(self, x: Tensor) -> Tensor:
        """Scores [N, V] of the units for x [N, C], by the input's own embeddings (tied weights), float32."""
        hidden = self.hidden_norm(F.gelu(self.hidden(x)))
        return (hidden @ self.units.weight[:-1].T + self.bias).float()

    def after_step(self, step: int) -> None:
        """Nothing to do."""


def _bert_weights(module: nn.Linear | nn.Embedding) -> None:
    nn.init.normal_(module.weight, 0, 0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
