"""Symbols in, units out: an encoder over units or text, a tag that says in which language, and a decoder of units.

What a unit BART (arXiv:2204.02967) learns to restore with, textless translation (arXiv:2305.15405) to translate with,
and a text-to-unit model to speak with. The tag stands behind the units that the encoder sees; the decoder begins with
its end symbol, as that of `decoders.seq2seq` does, so that it can become that one's.
differs: mBART's decoder begins with the tag; here it finds it among what it attends to. Encoder and decoder have
embeddings of their own, and there is a linear map between the encoder's embeddings and its blocks.

A speaker embedding from outside, projected and normalised, is added to what the decoder looks at, as ZMM-TTS
(arXiv:2312.14398, its released code) adds it to what its decoder reads.

B utterances, T units (or symbols of a text), L units of a target, C channels, V units, E channels of an embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechssl.decoders import transformer
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.decoders.token_scorers import decode
from speechssl.decoders.transformer import ended, shifted
from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Adaptor
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.lengths import valid_mask
from speechssl.nn.unit_input import Augmentation, UnitInput

LATER = {"num_inputs": 0, "speaker_inputs": 0}  # settings that came later; with these values hashes are what they were


@dataclass(frozen=True)
class Config:
    """What decides shapes and maths; the encoder's blocks are `adaptor`."""

    num_units: int  # V
    num_languages: int = 1  # tags
    adaptor: AdaptorConfig = field(default_factory=lambda: AdaptorConfig(strides=()))
    decoder: DecoderShape = field(default_factory=DecoderShape)
    num_inputs: int = 0  # symbols that go in; 0: the units
    speaker_inputs: int = 0  # E; 0: nobody says who speaks

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.num_units < 1 or self.num_languages < 1 or min(self.num_inputs, self.speaker_inputs) < 0:
            raise ConfigError("a model of units needs num_units and num_languages >= 1, num_inputs and speaker_inputs "
                              f">= 0, got {self}")  # fmt: skip
        if self.decoder.stack != 1:
            raise ConfigError(f"decoder.stack={self.decoder.stack}: a model of units says one unit in a step")
        if self.adaptor.strides or self.adaptor.kind == "zipformer":
            raise ConfigError("an encoder of units sees every unit and a tag behind them: set adaptor.strides=[], and "
                              "a kind that is not zipformer")  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """What the model says of a batch in training, over its N units and ends."""

    logits: Tensor  # [N, V + 1]
    wanted: Tensor  # [N] int64, V is the end
    states: Tensor  # [B, T + 1, C] what the decoder looked at
    counts: Tensor  # [B] of those

    @property
    def shown(self) -> Tensor:
        """All real frames of `states`, detached."""
        return self.states[valid_mask(self.counts, self.states.shape[1])].detach()


class Model(nn.Module):
    """Units of one stream, or symbols of a text, to units."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dim = config.adaptor.dim
        self.units = UnitInput((config.num_inputs or config.num_units,), dim, Augmentation())
        self.tags = nn.Embedding(config.num_languages, dim)
        self.adaptor = Adaptor(config.adaptor, dim)
        self.decoder = transformer.Model(config.decoder.config(config.num_units), dim)
        self.speaker: nn.Module | None = None
        if config.speaker_inputs:
            self.speaker = nn.Sequential(nn.Linear(config.speaker_inputs, dim), nn.LayerNorm(dim))

    def encode(
        self, units: Tensor, lengths: Tensor, languages: Tensor, speakers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the decoder looks at, [B, T + 1, C], and its counts [B], of units [B, T] (-1: a mask), tags of [B].

        speakers: embeddings [B, E], of a model that takes them; DataError where they are missing, or there.
        """
        if (speakers is None) != (self.speaker is None):
            what = "takes none" if self.speaker is None else f"needs one of {self.config.speaker_inputs} numbers"
            raise DataError(f"a speaker embedding: this model {what}")
        x = F.pad(self.units(units, lengths), (0, 0, 0, 1))
        behind = (torch.arange(x.shape[1], device=x.device) == lengths.unsqueeze(1)).unsqueeze(2)
        states, counts = self.adaptor(torch.where(behind, self.tags(languages).unsqueeze(1), x), lengths + 1)
        return states if self.speaker is None else states + self.speaker(speakers).unsqueeze(1), counts

    def forward(
        self, units: Tensor, lengths: Tensor, languages: Tensor, targets: Tensor, speakers: Tensor | None = None
    ) -> Scores:
        """Scores of targets [B, L], -1 behind their ends, of which the decoder reads the true units."""
        states, counts = self.encode(units, lengths, languages, speakers)
        wanted, sizes = ended(targets, self.decoder.end)
        valid = valid_mask(sizes, wanted.shape[1])
        logits = self.decoder(shifted(wanted, self.decoder.end), states, counts)[valid]
        return Scores(logits, wanted[valid], states, counts)


@torch.inference_mode()
def encode_rows(
    model: Model, rows: Sequence[np.ndarray], languages: Sequence[int], speakers: Tensor | None = None
) -> tuple[list[int], Tensor, Tensor]:
    """Which of the rows [T] int64 are not empty, and `Model.encode` of these.

    languages: of rows, as numbers; speakers: embeddings [B, E], one of each row.
    """
    kept = [place for place, row in enumerate(rows) if len(row)]
    device = model.tags.weight.device
    lengths = torch.tensor([len(rows[place]) for place in kept], dtype=torch.int64, device=device)
    if not kept:
        return kept, torch.zeros(0, 0, model.config.adaptor.dim, device=device), lengths
    padded = pad_sequence([torch.from_numpy(rows[place]) for place in kept], batch_first=True).to(device)
    tags = torch.tensor([languages[place] for place in kept], device=device)
    return kept, *model.encode(padded, lengths, tags, None if speakers is None else speakers[kept].to(device))


def search_rows(
    model: Model, rows: Sequence[np.ndarray], languages: Sequence[int], search: Search, speakers: Tensor | None = None
) -> list[list[Hypothesis]]:
    """The best hypotheses of each row, as `encode_rows` takes them; none of an empty one."""
    found: list[list[Hypothesis]] = [[] for _ in rows]
    kept, states, sizes = encode_rows(model, rows, languages, speakers)
    if kept:
        for place, result in zip(kept, decode(model.decoder, states, sizes, search), strict=True):
            found[place] = result
    return found
