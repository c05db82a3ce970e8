"""Teachers that follow their students as exponential moving averages, for self-distillation.

data2vec (arXiv:2202.03555) and data2vec 2.0 (arXiv:2212.07525) regress to what such a teacher gives for the unmasked
input, DinoSR (arXiv:2305.10005) predicts the clusters of it.

B utterances, T frames, C channels.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.lengths import valid_or_none
from speechssl.nn.speech_encoder import SpeechEncoder


@dataclass(frozen=True)
class Decay:
    """The teacher's share of itself in each update, τ: a straight line from `start` to `end`, which then stays.

    After each field: its name in fairseq's configs. The defaults are data2vec base's for speech.
    """

    start: float = 0.999  # ema_decay
    end: float = 0.9999  # ema_end_decay
    updates: int = 30_000  # ema_anneal_end_step

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.start <= 1 or not 0 <= self.end <= 1 or self.updates < 0:
            raise ConfigError(f"a teacher's decay needs start and end in 0..1 and updates >= 0, got {self}")

    def at(self, update: int) -> float:
        """τ in update number `update`, from 1."""
        if update >= self.updates:
            return self.end
        return self.start + (self.end - self.start) * update / self.updates


class Teacher(nn.Module):
    """A copy of an encoder that gets no gradient, never drops anything, and follows its student.

    The whole encoder is kept, so that the teacher can be used as one. Parts named in `copied` are not averaged but the
    student's own of now: the released codes let the teacher look at the student's convolutions.
    """

    def __init__(self, student: SpeechEncoder, copied: Sequence[str]) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(student).requires_grad_(False)
        self.copied = tuple(f"{name}." for name in copied)
        self.eval()

    def train(self, mode: bool = True) -> "Teacher":
        """A teacher is always in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, student: SpeechEncoder, decay: float) -> None:
        """mine ← decay * mine + (1 - decay) * the student's, in the parameters' own precision, float32 in training."""
        follow(self.encoder, student, decay, copied=self.copied)

    @torch.no_grad()
    def targets(self, x: Tensor, lengths: Tensor, top: int) -> list[Tensor]:
        """What the feed-forward networks of the `top` last blocks give for projected frames x [B, T, C], lengths [B].

        Before the residual and the last norm of each block, normalised over an utterance's real frames per channel;
        float32 [B, T, C] each. `x` comes from the student's front end, as in the released codes.
        """
        valid = valid_or_none(lengths, x.shape[1])
        _, branches = run_blocks(self.encoder, x, valid)
        return [instance_norm(branch, valid) for branch in branches[-top:]]


@torch.no_grad()
def follow(mine: nn.Module, theirs: nn.Module, decay: float, *, copied: tuple[str, ...] = ()) -> None:
    """Parameters of `mine` ← decay * mine + (1 - decay) * theirs; those in `copied` and buffers: theirs."""
    parameters, buffers = dict(theirs.named_parameters()), dict(theirs.named_buffers())
    for name, parameter in mine.named_parameters():
        parameter.lerp_(parameters[name], 1.0 if copied and name.startswith(copied) else 1 - decay)
    for name, buffer in mine.named_buffers():
        buffer.copy_(buffers[name])


def run_blocks(
    encoder: SpeechEncoder, x: Tensor, valid: Tensor | None, *, upto: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """What enters the first block, and what the feed-forward networks of blocks 1..upto give, [B, T, C] each.

    From projected frames x [B, T, C], of which `valid` [B, T] are real; padding is finite but means nothing.
    """
    if not x.shape[1]:
        return x, [x] * (encoder.num_layers if upto is None else upto)
    branches: list[Tensor] = []
    states = encoder.transformer.states(x + encoder.pos_conv(x, valid), valid, upto=upto, branches=branches)
    first, *_ = states
    return first, branches


def instance_norm(x: Tensor, valid: Tensor | None, eps: float = 1e-5) -> Tensor:
    """x [B, T, C] with zero mean and unit variance per utterance and channel; at least float32, zeros at padding.

    differs: released code takes the statistics over the padded length of a batch.
    """
    x = x if x.dtype == torch.float64 else x.float()
    if valid is None:
        mean = x.mean(1, keepdim=True)
        return (x - mean) * ((x - mean).square().mean(1, keepdim=True) + eps).rsqrt()
    padding = ~valid.unsqueeze(-1)
    count = valid.sum(1).clamp(min=1).view(-1, 1, 1)
    mean = x.masked_fill(padding, 0).sum(1, keepdim=True) / count
    centred = (x - mean).masked_fill(padding, 0)
    return centred * (centred.square().sum(1, keepdim=True) / count + eps).rsqrt()


def check_teacher(encoder: SpeechEncoder, top: int) -> None:
    """ConfigError where an encoder does not have `top` blocks."""
    if not 1 <= top <= encoder.num_layers:
        raise ConfigError(f"top_layers={top} needs an encoder of as many blocks, this one has {encoder.num_layers}")
