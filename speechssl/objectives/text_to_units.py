"""Text to units of speech that says it, of one or more languages: the first half of text to speech through units.

The task of ZMM-TTS' text-to-vector model (arXiv:2312.14398): text or phones, language and speaker in, discrete
representations of speech out. differs: there two codes of every frame, all at once, with durations from an alignment
that is learned along; here units of one codebook one after another, with attention, by the decoder of speech-to-unit
models (`decoders.unit_seq2seq`), so that a unit-BART's or a unit language model's begins it.

Symbols of texts come as `data.labels`, their units as `data.targets`, the language as `data.groups`; no audio is read.
With `speaker_inputs` there is an embedding of each of `data.speakers` in `voices`, which is not trained.

B utterances, T symbols, L units, V units, E channels of an embedding.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.decoders import unit_seq2seq
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.objectives import Outcome
from speechssl.objectives._units import cross_entropy, languages_of, nothing, units_of


@dataclass(frozen=True)
class Config:
    """The encoder's blocks are `adaptor`."""

    num_labels: int  # symbols of texts, taken from the vocabulary
    num_units: int  # V, taken from the units
    num_languages: int = 1  # tags, taken from the data
    num_speakers: int = 0  # who have embeddings, taken from the data
    speaker_inputs: int = 0  # E; 0: nobody says who speaks
    adaptor: AdaptorConfig = field(default_factory=lambda: AdaptorConfig(strides=()))
    decoder: DecoderShape = field(default_factory=DecoderShape)
    dropout: Dropout = field(default_factory=lambda: Dropout(layer=0.0))
    smoothing: float = 0.1  # of labels

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.num_labels < 1 or not 0 <= self.smoothing < 1:
            raise ConfigError(f"text to units needs num_labels >= 1 and smoothing in 0..1 without 1, got {self}")
        if (self.num_speakers > 0) != (self.speaker_inputs > 0):
            raise ConfigError(
                f"num_speakers={self.num_speakers} and speaker_inputs={self.speaker_inputs} need each other"
            )
        _ = self.model

    @property
    def model(self) -> unit_seq2seq.Config:
        """What learns."""
        return unit_seq2seq.Config(self.num_units, self.num_languages, self.adaptor, self.decoder, self.num_labels,
                                   self.speaker_inputs)  # fmt: skip


class Objective(nn.Module):
    """Cross entropy with label smoothing of all units and ends, which are counted."""

    voices: Tensor

    def __init__(self, encoder: nn.Module, config: Config) -> None:
        super().__init__()
        self.encoder, self.config = encoder.requires_grad_(False), config
        self.model = unit_seq2seq.Model(config.model)
        self.model.units.mask.requires_grad_(False)  # nothing is masked here
        self.register_buffer("voices", torch.zeros(config.num_speakers, config.speaker_inputs))
        set_dropout(self, config.dropout)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over all utterances that have a symbol and a unit."""
        symbols, targets = units_of(batch), batch.targets
        if targets is None:
            raise DataError("text to units needs units (targets) of utterances in its batches")
        lengths = (symbols >= 0).sum(1)
        rows = ((lengths > 0) & (targets >= 0).any(1)).nonzero().squeeze(1)
        if not len(rows):
            return nothing(self)
        languages, told = languages_of(batch, self.config.num_languages), self.embeddings(batch)
        scores = self.model(symbols[rows], lengths[rows], languages[rows], targets[rows],
                            None if told is None else told[rows])  # fmt: skip
        return cross_entropy(scores.logits, scores.wanted, scores.shown, smoothing=self.config.smoothing)

    def embeddings(self, batch: Batch) -> Tensor | None:
        """[B, E] of who speaks; None where nobody says. DataError where a batch does not know."""
        if not self.config.speaker_inputs:
            return None
        if batch.speakers is None:
            raise DataError("a model that is told who speaks needs speakers in its batches")
        return self.voices[batch.speakers]

    def after_step(self, step: int) -> None:
        """Nothing to do."""
