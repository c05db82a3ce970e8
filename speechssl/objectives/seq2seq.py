"""Sequence to sequence: an encoder, an adaptor and a decoder learn to say a target symbol after symbol.

Speech-to-unit translation with auxiliary tasks (arXiv:2107.05604, section 3.2), speech-to-text translation, and
recognition with attention, alone or together with CTC: (1 - λ) of the one and λ of the other (Watanabe et al. 2017).

The count is that of the symbols and ends of targets. An auxiliary task's loss is the mean over its own symbols, times
an utterance's count, so that its weight does not depend on how long its targets are.
differs: fairseq takes that mean over the batch; here it is over each utterance, so that an update does not depend on
how it is cut into batches.

B utterances, T frames, L symbols, V symbols.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.decoders import seq2seq
from speechssl.decoders.seq2seq import DecoderShape, Scores, Task
from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.ctc_loss import ctc_losses
from speechssl.nn.dropout import Dropout
from speechssl.nn.label_smoothing import smoothed_loss
from speechssl.nn.lengths import valid_mask
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.partial import rest_of
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome


@dataclass(frozen=True)
class Config:
    """Defaults: fairseq's s2ut_transformer without its tasks. After each field: its name there."""

    num_symbols: int  # V of the targets; target_code_size
    blank: int | None = None  # see decoders.seq2seq.Config
    layer: int | None = None  # of the encoder, blocks above are left out; None: its final output
    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    decoder: DecoderShape = field(default_factory=DecoderShape)
    dropout: Dropout = field(default_factory=lambda: Dropout(activation=0.1, layer=0.0))  # of adaptor and decoder
    masking: Masking = field(
        default_factory=lambda: Masking(
            SpanMask(share=0.0, min_spans=0), gradient=1.0, dropout=0.0, features_dropout=0.0
        )
    )  # gradient = 0: the front end is frozen
    freeze_updates: int = 0  # encoder_freezing_updates; -1: for good
    trained: Literal["full", "lna_e", "lna_d", "lna_ed"] = "full"  # of the encoder (e), of the decoder (d) norms and
    # attention alone (nn.partial); finetune_w2v_params, finetune_decoder_params. All else learns
    smoothing: float = 0.2  # label_smoothing
    ctc_weight: float = 0.0  # λ
    tasks: tuple[Task, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.smoothing < 1 or not 0 <= self.ctc_weight < 1 or self.freeze_updates < -1:
            raise ConfigError(f"smoothing={self.smoothing} and ctc_weight={self.ctc_weight} must be in 0..1 without 1, "
                              f"freeze_updates={self.freeze_updates} at least -1")  # fmt: skip
        if "e" in self.parts and self.freeze_updates < 0:
            raise ConfigError(f"trained={self.trained!r} has no effect on an encoder that is frozen for good: choose "
                              "lna_d, or freeze_updates of at least 0")  # fmt: skip

    @property
    def parts(self) -> str:
        """Of which parts norms and attention alone are trained: letters e and d."""
        return self.trained.partition("lna_")[2]

    @property
    def model(self) -> seq2seq.Config:
        """What stands behind the encoder."""
        return seq2seq.Config(self.num_symbols, self.blank, self.ctc_weight > 0, self.adaptor, self.decoder, self.tasks)


class Objective(nn.Module):
    """Cross entropy with label smoothing, CTC and auxiliary tasks."""

    in_step = False

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        if config.layer is not None and not 0 <= config.layer <= encoder.num_layers:
            raise ConfigError(f"layer={config.layer}: the encoder has layers 0..{encoder.num_layers}")
        self.encoder, self.config = encoder, config
        self.masked = MaskedInput(encoder, config.masking)
        self.model = seq2seq.Model(config.model, encoder.dim)
        self.model.set_dropout(config.dropout)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        frozen = encoder.parameters() if config.freeze_updates < 0 else unused(encoder, config.layer)
        for parameter in [*frozen, *self._rest()]:
            parameter.requires_grad_(False)
        if config.masking.gradient == 0:
            encoder.conv.requires_grad_(False)

    def _rest(self) -> list[nn.Parameter]:
        """What does not learn in partial fine-tuning."""
        chosen = {"e": self.encoder, "d": self.model.decoder}
        return [parameter for part in self.config.parts for parameter in rest_of(chosen[part])]

    @property
    def skips_parameters(self) -> bool:
        """Whether some trained parameters get no gradient in some updates."""
        return self.config.freeze_updates > 0 or bool(self.config.tasks)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over all symbols and ends; counts them. Utterances without frames count nothing."""
        config, targets = self.config, _targets(batch)
        frames, counts = self._frames(batch)
        kept = ((counts > 0) & (targets >= 0).any(1)).nonzero().squeeze(1)
        tasks = {task.name: _task(batch, task.name) for task in config.tasks}
        if len(kept) < len(targets):
            frames, counts, targets = frames[kept], counts[kept], targets[kept]
            tasks = {name: rows[kept] for name, rows in tasks.items()}
        if not len(kept):
            nothing = sum((p.sum() * 0.0 for p in self.parameters() if p.requires_grad), frames.sum() * 0.0)
            return Outcome(nothing.float(), 0, {}, frames.new_zeros(0, self.model.adaptor.dim))
        scores = self.model(frames, counts, targets, tasks)
        return self._outcome(scores, targets, tasks)

    def _outcome(self, scores: Scores, targets: Tensor, tasks: Mapping[str, Tensor]) -> Outcome:
        config = self.config
        valid = valid_mask(scores.target_lengths, scores.targets.shape[1])
        logits, wanted = scores.logits[valid], scores.targets[valid]
        count = len(wanted)
        loss = smoothed_loss(logits, wanted, config.smoothing)
        nll = loss.detach() if not config.smoothing else smoothed_loss(logits.detach(), wanted)
        scalars: dict[str, Tensor | float] = {
            "nll": nll / count,
            "accuracy": (logits.argmax(-1) == wanted).sum() / count,
        }
        if scores.ctc is not None:
            losses, possible = ctc_losses(scores.ctc, scores.lengths, targets, blank=self.model.config.ctc_blank)
            loss = (1 - config.ctc_weight) * loss + config.ctc_weight * losses.sum()
            scalars["ctc_loss"] = losses.detach().sum() / count
            scalars["ctc_no_path"] = (~possible).sum() / len(possible)
        for task in config.tasks:
            means, learned = self._task_means(task, scores, tasks[task.name])
            loss = loss + task.weight * (means * scores.target_lengths).sum()
            scalars[f"{task.name}_loss"] = (means.detach() * scores.target_lengths).sum() / count
            scalars[f"{task.name}_left_out"] = (~learned).sum() / len(learned)
        shown = scores.states[valid_mask(scores.lengths, scores.states.shape[1])].detach()
        return Outcome(loss.float(), count, scalars, shown, logits.detach().argmax(-1))

    def _task_means(self, task: Task, scores: Scores, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss over a task's symbols of each utterance, and who has one: a target, and a path of CTC; [B]."""
        found, counts = scores.tasks[task.name]
        sizes = (targets >= 0).sum(1)
        if task.kind == "ctc":
            losses, possible = ctc_losses(found, counts, targets, blank=task.num_symbols)
            return losses / sizes.clamp_min(1), possible
        padded = F.pad(targets, (0, 1), value=-1)
        wanted = padded.scatter(1, sizes.unsqueeze(1), task.num_symbols)
        losses = F.cross_entropy(found.float().flatten(0, 1), wanted.flatten(), ignore_index=-1, reduction="none",
                                 label_smoothing=self.config.smoothing)  # fmt: skip
        return (losses.view_as(wanted).sum(1) / counts).masked_fill(sizes == 0, 0.0), sizes > 0

    def _frames(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The encoder's layer [B, T, C] and real frames [B]; masked in training alone."""
        freeze, layer = self.config.freeze_updates, self.config.layer
        frozen = freeze < 0 or int(self.updates) < freeze
        with torch.no_grad() if frozen else nullcontext():
            if self.training:
                inputs = self.masked(self.encoder, batch.wav, batch.lengths, batch.seeds)
                x, frames = inputs.x, inputs.lengths
            else:
                x, frames = self.encoder.frontend(batch.wav, batch.lengths)
            if layer is None:
                return self.encoder.finish(x, frames), frames
            return self.encoder.context(x, frames, upto=layer)[-1], frames

    def after_step(self, step: int) -> None:
        """Count updates, so that the encoder thaws."""
        self.updates.fill_(step)


def unused(encoder: SpeechEncoder, layer: int | None) -> list[nn.Parameter]:
    """Parameters of the encoder that have no part in a layer: blocks above it, a final norm."""
    if layer is None:
        return []
    modules = [
        *encoder.transformer.layers[layer:],
        *([encoder.transformer.norm] if encoder.transformer.norm_first else []),
    ]
    return [parameter for module in modules for parameter in module.parameters()]


def _targets(batch: Batch) -> Tensor:
    if batch.targets is None:
        raise DataError("seq2seq needs targets of utterances in its batches")
    return batch.targets


def _task(batch: Batch, name: str) -> Tensor:
    if name not in batch.tasks:
        raise DataError(f"batches have no targets of the task {name!r}")
    return batch.tasks[name]
