"""DinoSR (arXiv:2305.10005): predict, at masked frames, the clusters of what a teacher makes of the unmasked input.

The teacher is a moving average of the student's transformer; each of its top K blocks is clustered online by its own
codebook, and the student has one linear head per block.

B utterances, T frames, C channels, K blocks, V codewords, N masked frames.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.nn.ema import Decay, Teacher, check_teacher
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome
from speechssl.quantizers.ema import EmaCodebooks
from speechssl.quantizers.restart import draw_keys


def prediction_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """The paper's loss, cross entropy of codes [N, K] under logits [N, K, V]: sum over frames, mean over blocks."""
    logits = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, codes.flatten(), reduction="sum") / codes.shape[1]


@dataclass(frozen=True)
class Config:
    """The base model's settings. After each field: its name in the released code's config."""

    masking: Masking = field(
        default_factory=lambda: Masking(
            time=SpanMask(share=0.8, min_spans=1), gradient=1.0, dropout=0.0, features_dropout=0.0
        )
    )
    top_layers: int = 8  # average_top_k_layers, K
    entries: int = 256  # codebook_size, V
    codebook_decay: float = 0.9  # codebook_init_decay, τ
    codebook_start: Literal["unit", "small"] = "unit"  # normal_init_codebook: false, true; see `quantizers.ema`
    restart_after: int = 0  # updates without a frame after which a codeword starts anew at one; 0: never, as released
    decay: Decay = field(default_factory=Decay)  # λ
    freeze_after: int = 200_000  # freeze_teacher_step: updates after which the teacher stays; 0: it never does

    def __post_init__(self) -> None:
        """Refuse codebooks that cannot be."""
        if self.entries < 2 or not 0 <= self.codebook_decay <= 1 or min(self.freeze_after, self.restart_after) < 0:
            raise ConfigError("dinosr needs entries >= 2, codebook_decay in 0..1, freeze_after and restart_after >= 0, "
                              f"got {self}")  # fmt: skip


class Objective(nn.Module):
    """Prediction of the clusters of the teacher's blocks."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        check_teacher(encoder, config.top_layers)
        self.encoder = encoder
        self.config = config
        self.masked = MaskedInput(encoder, config.masking)
        self.heads = nn.Linear(encoder.dim, config.top_layers * config.entries)  # heads.0 .. heads.K-1, side by side
        self.codebooks = EmaCodebooks(encoder.dim, config.entries, config.top_layers, decay=config.codebook_decay,
                                      start=config.codebook_start, restart_after=config.restart_after)  # fmt: skip
        self.teacher = Teacher(encoder, copied=("conv", "projection", "pos_conv"))

    def forward(self, batch: Batch, *, mask: Tensor | None = None) -> Outcome:
        """The loss over masked frames, which it counts; in training their clusters are remembered for `after_step`."""
        config = self.config
        inputs = self.masked(self.encoder, batch.wav, batch.lengths, batch.seeds, mask=mask)
        x = self.encoder.finish(inputs.x, inputs.lengths)
        layers = self.teacher.targets(inputs.projected.detach(), inputs.lengths, config.top_layers)
        targets = torch.stack([layer[inputs.mask] for layer in layers])  # [K, N, C]
        codes = self.codebooks.encode(targets)
        if self.training:
            keys = draw_keys(inputs.mask.sum(1), batch.seeds) if config.restart_after else None
            self.codebooks.collect(targets, codes, keys)
        logits = self.heads(x[inputs.mask]).unflatten(-1, (config.top_layers, config.entries))
        loss = prediction_loss(logits, codes)
        scalars: dict[str, Tensor | float] = {
            "accuracy": (logits.argmax(-1) == codes).float().mean(1).sum() / max(1, len(codes)),
            "masked_share": inputs.mask.sum() / inputs.valid.sum().clamp(min=1),
        }
        return Outcome(loss, len(codes), scalars, x[inputs.valid].detach(), codes)

    def after_step(self, step: int) -> None:
        """Teacher and codebooks follow; when the teacher stays, so do the convolutions that it shares.

        differs: the released code updates the codebooks in each forward pass, so that accumulated batches see others.
        """
        config = self.config
        self.codebooks.update()
        if not config.freeze_after or step <= config.freeze_after:
            self.teacher.follow(self.encoder, config.decay.at(step))
            return
        for name in ("conv", "projection"):  # what the optimizer did to them is undone
            getattr(self.encoder, name).load_state_dict(getattr(self.teacher.encoder, name).state_dict())
