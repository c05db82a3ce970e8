"""A trained sequence-to-sequence model: waveform in, text or units out.

On disk one folder: `card.json`, `model.safetensors` (tensors of `encoder.` and `model.`), and for text the vocabulary.
The card holds hashes of all parts: a folder whose files do not belong together is an error, never another output.

B utterances, S samples, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechssl import config
from speechssl.convert import s2ut
from speechssl.decoders import seq2seq, transformer
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.token_scorers import decode
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.encoders import pretrained as encoder_files
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.generation.stored import fill, plain_model
from speechssl.units import stored
from speechssl.units.model import samples_at

if TYPE_CHECKING:
    from speechssl.audio import Audio

FORMAT = "speechssl-seq2seq-1"
LONGEST_S = 60.0  # attention over a whole recording; nothing longer is trained on


@dataclass(frozen=True)
class Output:
    """What symbols are."""

    kind: Literal["text", "units"]
    reduced: bool = True  # units: runs merged
    rate_hz: float | None = None  # units: before merging
    unit_model: str | None = None  # units: sha256 of what made them, which a vocoder must know
    vocabulary_sha256: str | None = None  # text


@dataclass(frozen=True)
class StoredCard:
    """card.json, field by field."""

    format: str
    name: str
    encoder: EncoderCard
    layer: int | None
    model: seq2seq.Config
    output: Output
    sha256: str
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


class _Parts(nn.Module):
    def __init__(self, encoder: nn.Module, model: seq2seq.Model) -> None:
        super().__init__()
        self.encoder, self.model = encoder, model


class Seq2Seq:
    """Waveform to text or units."""

    def __init__(
        self, encoder: nn.Module, encoder_card: EncoderCard, model: seq2seq.Model, output: Output, *,
        layer: int | None = None, vocabulary: Vocabulary | None = None, name: str = "", licence: str = "",
        training: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if (output.kind == "text") != (vocabulary is not None):
            raise ConfigError("a vocabulary belongs to text, and to nothing else")
        if vocabulary is not None:
            output = replace(output, vocabulary_sha256=vocabulary.sha256)
            if len(vocabulary) != model.config.num_symbols:
                raise CheckpointError(f"a decoder of {model.config.num_symbols} symbols does not fit a vocabulary of "
                                      f"{len(vocabulary)}")  # fmt: skip
        self.parts = _Parts(encoder, model).eval().requires_grad_(False)
        resolved = config.to_dict(encoder.config) if hasattr(encoder, "config") else encoder_card.config
        self.encoder_card = replace(encoder_card, config=resolved)
        self.output, self.layer, self.vocabulary = output, layer, vocabulary
        self.name, self.licence, self.training = name, licence, training or {}

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform it takes."""
        return int(self.parts.encoder.sample_rate)

    @property
    def num_symbols(self) -> int:
        """V of the targets."""
        return self.parts.model.config.num_symbols

    @property
    def decoder(self) -> transformer.Model:
        """What says symbols."""
        return self.parts.model.decoder

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.decoder.embedding.weight.device

    @cached_property
    def sha256(self) -> str:
        """Identity: over encoder, normalisation, layer, model, weights and what symbols are."""
        card, model = self.encoder_card, plain_model(self.parts.model.config)
        normal = [card.family, card.config, card.normalize, card.normalize_eps if card.normalize else None]
        return stored.digest([FORMAT, normal, self.layer, model, config.to_dict(self.output)], self.parts)

    def to(self, device: str | torch.device) -> "Seq2Seq":
        """Itself, moved to a device."""
        self.parts.to(device)
        return self

    def __call__(
        self, audio: "str | Path | Audio | np.ndarray | Tensor", sample_rate: int | None = None, *,
        search: Search | None = None, ctc_weight: float = 0.0,
    ) -> "str | np.ndarray":  # fmt: skip
        """The best text, or units [L] int64, of a file, of `read_audio`'s result or of samples [S] at sample_rate Hz.

        Raises AudioError for a recording that cannot be used, DataError for one of more than a minute.
        """
        samples = torch.from_numpy(samples_at(audio, sample_rate, self.sample_rate))
        (found,) = self.hypotheses([samples], search, ctc_weight=ctc_weight)
        return self.spell(found[0].tokens if found else ())

    @torch.inference_mode()
    def hypotheses(
        self, waves: Sequence[Tensor], search: Search | None = None, *, ctc_weight: float = 0.0
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each of several utterances [S] at `sample_rate`; none for one too short for a frame.

        ctc_weight: of the CTC head over the targets, for models that have one. DataError beyond a minute.
        """
        rows, states, counts = self.memories(waves)
        found: list[list[Hypothesis]] = [[] for _ in waves]
        if rows:
            results = search_states(self.parts.model, states, counts, search or Search(), ctc_weight=ctc_weight)
            for row, result in zip(rows, results, strict=True):
                found[row] = result
        return found

    @torch.inference_mode()
    def memories(self, waves: Sequence[Tensor]) -> tuple[list[int], Tensor, Tensor]:
        """What the decoder looks at for several utterances [S] at `sample_rate`: which have a frame, `encode` of these.

        DataError beyond a minute.
        """
        longest = max((len(wave) for wave in waves), default=0) / self.sample_rate
        if longest > LONGEST_S:
            raise DataError(f"{longest:.0f} s are more than {LONGEST_S:.0f} s, which this model takes at once: cut the "
                            "recording into utterances")  # fmt: skip
        normalize = Pretrained(self.parts.encoder, self.encoder_card).normalize
        normal = [normalize(wave.to(self.device)) for wave in waves]
        lengths = torch.tensor([len(wave) for wave in normal], dtype=torch.int64, device=self.device)
        rows: list[int] = (self.parts.encoder.frame_lengths(lengths) > 0).nonzero().flatten().tolist()
        if not rows:
            return rows, torch.zeros(0, 0, 0), lengths[:0]
        padded = nn.utils.rnn.pad_sequence([normal[row] for row in rows], batch_first=True)
        return rows, *self.encode(padded, lengths[rows])

    def encode(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder looks at for normalised wav [B, S]: [B, T, D], and its counts [B]."""
        encoder = self.parts.encoder
        if self.layer is None:
            frames, counts = encoder(wav, lengths)
        else:
            layers, counts = encoder.layers(wav, lengths, upto=self.layer)
            frames = layers[self.layer]
        return self.parts.model.encode(frames, counts)

    def spell(self, tokens: Sequence[int]) -> "str | np.ndarray":
        """Text, or units [L] int64, of symbols."""
        return np.array(tokens, dtype=np.int64) if self.vocabulary is None else self.vocabulary.decode(tokens)

    def symbols(self, text: str) -> np.ndarray:
        """Symbols [L] int64 of a text, which `spell` makes a text of again. ConfigError for a model of units."""
        if self.vocabulary is None:
            raise ConfigError("this model says units, not text")
        return np.array(self.vocabulary.encode(text), dtype=np.int64)

    def describe(self) -> StoredCard:
        """The card as it is stored."""
        return StoredCard(FORMAT, self.name, self.encoder_card, self.layer, self.parts.model.config, self.output,
                          self.sha256, self.licence, self.training)  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write the model into `folder` (made if absent); the card goes first and comes last."""
        stored.write(
            folder, self.parts, self.describe(), beside=None if self.vocabulary is None else self.vocabulary.save
        )

    @classmethod
    def load(cls, folder: str | Path) -> "Seq2Seq":
        """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
        path = Path(folder)
        card = read_card(path)
        vocabulary = vocabularies.load(path) if card.output.kind == "text" else None
        with stored.reading(path, "sequence-to-sequence model"):
            encoder = encoder_files.build_empty(card.encoder.family, card.encoder.config)
            with torch.device("meta"):  # no memory, whatever the card says
                parts = _Parts(encoder, seq2seq.Model(card.model, encoder.dim))
            fill(parts, path)
            found = cls(parts.encoder, card.encoder, parts.model, card.output, layer=card.layer, vocabulary=vocabulary,
                        name=card.name, licence=card.licence, training=card.training)  # fmt: skip
        stored.check_identity(path, found.sha256, card.sha256)
        return found


def load_translator(spec: str | Path) -> Seq2Seq:
    """A folder that `Seq2Seq.save` wrote, or a file of fairseq's speech-to-unit models. Raises CheckpointError."""
    path = Path(spec)
    return of_fairseq(s2ut.load(path)) if path.is_file() else Seq2Seq.load(path)


def of_fairseq(found: s2ut.LoadedTranslator) -> Seq2Seq:
    """The model of a converted checkpoint. What made its units is not known."""
    return Seq2Seq(found.encoder.encoder, found.encoder.card, found.model, Output("units", found.reduced),
                   name=found.name)  # fmt: skip


def search_states(
    model: seq2seq.Model, states: Tensor, lengths: Tensor, search: Search, *, ctc_weight: float = 0.0
) -> list[list[Hypothesis]]:
    """The best hypotheses for what `Model.encode` gave: states [B, T, D] and lengths [B]."""
    log_probs = model.ctc_log_probs(states) if ctc_weight else None
    return decode(model.decoder, states, lengths, search, ctc_log_probs=log_probs, ctc_weight=ctc_weight,
                  blank=model.config.ctc_blank)  # fmt: skip


def read_card(folder: Path) -> StoredCard:
    """card.json, checked for its form only. Raises CheckpointError."""
    return stored.read_card(folder, StoredCard, FORMAT, "sequence-to-sequence model")
