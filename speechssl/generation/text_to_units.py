"""A trained model from text to units: in one model several languages, and voices that it is told of.

On disk one folder: `card.json`, `model.safetensors` (tensors of `model.`, and `voices`, the embeddings of the speakers
that it knows by name) and the vocabulary. The card names the unit model, which a vocoder must know.

B utterances, T symbols, E channels of an embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechssl import config
from speechssl.decoders import unit_seq2seq
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.vocabulary import Vocabulary
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.generation.model import Output
from speechssl.generation.stored import fill
from speechssl.units import stored
from speechssl.units.stored import without
from speechssl.units.voice_conversion import embedding_of, fitting, known_names

FORMAT = "speechssl-text-to-units-1"
SEARCH = Search(beam=5, max_tokens=50, max_per_frame=10.0)  # so many units, and so many more for each symbol


@dataclass(frozen=True)
class Speakers:
    """Whom a model knows by name, and whose package's embeddings it takes ("": nobody knows)."""

    names: tuple[str, ...] = ()
    embedder: str = ""


@dataclass(frozen=True)
class StoredCard:
    """card.json, field by field."""

    format: str
    name: str
    model: unit_seq2seq.Config
    languages: tuple[str, ...]  # in the order of tags
    speakers: Speakers
    output: Output
    sha256: str
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


class _Parts(nn.Module):
    voices: Tensor

    def __init__(self, model: unit_seq2seq.Model, voices: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("voices", voices)


class TextToUnits:
    """Text to units of speech that says it."""

    def __init__(
        self, model: unit_seq2seq.Model, vocabulary: Vocabulary, languages: Sequence[str], output: Output, *,
        speakers: Speakers | None = None, voices: Tensor | None = None, name: str = "", licence: str = "",
        training: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """voices [N, E]: of the speakers."""
        shape, self.speakers = model.config, speakers or Speakers()
        voices = torch.zeros(0, shape.speaker_inputs) if voices is None else voices
        if (len(languages), len(vocabulary)) != (shape.num_languages, shape.num_inputs):
            raise CheckpointError(f"a model of {shape.num_languages} languages and {shape.num_inputs} symbols does not "
                                  f"fit {', '.join(languages)} and a vocabulary of {len(vocabulary)}")  # fmt: skip
        if tuple(voices.shape) != (len(self.speakers.names), shape.speaker_inputs):
            raise CheckpointError(f"{len(self.speakers.names)} speakers with {list(voices.shape)} numbers, for a model "
                                  f"that takes {shape.speaker_inputs}")  # fmt: skip
        self.parts = _Parts(model, voices).eval().requires_grad_(False)
        self.vocabulary, self.languages, self.output = vocabulary, tuple(languages), output
        self.name, self.licence, self.training = name, licence, training or {}

    @property
    def num_symbols(self) -> int:
        """V of the units."""
        return self.parts.model.config.num_units

    @property
    def speaker_inputs(self) -> int:
        """E; 0: it is not told who speaks."""
        return self.parts.model.config.speaker_inputs

    @cached_property
    def sha256(self) -> str:
        """Identity: over model, weights, symbols, languages, speakers and what units are."""
        plain = without(config.to_dict(self.parts.model.config), unit_seq2seq.LATER)
        head = [FORMAT, plain, self.vocabulary.sha256, self.languages, config.to_dict(self.speakers),
                config.to_dict(self.output)]  # fmt: skip
        return stored.digest(head, self.parts)

    def to(self, device: str | torch.device) -> "TextToUnits":
        """Itself, moved to a device."""
        self.parts.to(device)
        return self

    def __call__(
        self, text: str, language: str | None = None, *, speaker: str | Path | Tensor | None = None,
        search: Search | None = None,
    ) -> np.ndarray:  # fmt: skip
        """The best units [L] int64 of a text, with symbols of its vocabulary alone.

        language: where it knows several. speaker: of a model that is told, see `prompt`. DataError for an empty text
        and unknown symbols; ConfigError for a language that it does not know.
        """
        (found,) = self.hypotheses([self.symbols(text)], [self.language(language)], search, self.prompt(speaker))
        return self.spell(found[0].tokens if found else ())

    def symbols(self, text: str) -> np.ndarray:
        """Numbers [T] int64 of a text's symbols. DataError where there are none, and for unknown ones."""
        ids = np.array(self.vocabulary.encode(text), dtype=np.int64)
        if not len(ids):
            raise DataError("an empty text: there is nothing to say")
        return ids

    def language(self, name: str | None) -> int:
        """A language's number; None: the only one. ConfigError for one that it does not know."""
        known = ", ".join(self.languages)
        if name is None and len(self.languages) > 1:
            raise ConfigError(f"this model speaks {known}: say which (--language)")
        if name is not None and name not in self.languages:
            raise ConfigError(f"this model does not speak {name!r}, but {known}")
        return 0 if name is None else self.languages.index(name)

    def prompt(self, speaker: str | Path | Tensor | None) -> Tensor | None:
        """The embedding [E] of who is to speak: a speaker's name, a recording or folder of them, an .npy file or [E].

        ConfigError for a model that is not told who speaks, and where one that is told is not, and for a recording
        where nobody knows whose embeddings these are; DataError for one of another size.
        """
        known = known_names(self.speakers.names)
        if not self.speaker_inputs:
            if speaker is not None:
                raise ConfigError("this model is not told who speaks: leave the speaker out, or train it with "
                                  "data.embeddings")  # fmt: skip
            return None
        if speaker is None:
            raise ConfigError("this model must be told who speaks (--speaker): a name, a recording, or an .npy file of "
                              f"{self.speaker_inputs} numbers ({known})")  # fmt: skip
        if isinstance(speaker, Tensor):
            return fitting(speaker, self.speaker_inputs, "speaker")
        if str(speaker) in self.speakers.names:
            return self.parts.voices[self.speakers.names.index(str(speaker))]
        return embedding_of(speaker, self.speaker_inputs, self.speakers.embedder, known)

    def hypotheses(
        self, texts: Sequence[np.ndarray], languages: Sequence[int], search: Search | None = None,
        speaker: Tensor | None = None,
    ) -> list[list[Hypothesis]]:  # fmt: skip
        """The best hypotheses of each of several texts' symbols [T], in languages of these numbers, by one speaker [E].

        None of an empty text. What reaches the bound of the search, or the decoder's own, is cut off and not `ended`.
        """
        speakers = None if speaker is None else speaker.expand(len(texts), -1)
        return unit_seq2seq.search_rows(self.parts.model, texts, languages, search or SEARCH, speakers)

    def spell(self, tokens: Sequence[int]) -> np.ndarray:
        """Units [L] int64 of what a hypothesis says."""
        return np.array(tokens, dtype=np.int64)

    def describe(self) -> StoredCard:
        """The card as it is stored."""
        return StoredCard(FORMAT, self.name, self.parts.model.config, self.languages, self.speakers, self.output,
                          self.sha256, self.licence, self.training)  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write the model into `folder` (made if absent); the card goes first and comes last."""
        stored.write(
            folder, self.parts, self.describe(), beside=None if self.vocabulary is None else self.vocabulary.save
        )

    @classmethod
    def load(cls, folder: str | Path) -> "TextToUnits":
        """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
        path = Path(folder)
        card = stored.read_card(path, StoredCard, FORMAT, "model from text to units")
        vocabulary = vocabularies.load(path)
        with stored.reading(path, "model from text to units"):
            with torch.device("meta"):  # no memory, whatever the card says
                voices = torch.zeros(len(card.speakers.names), card.model.speaker_inputs)
                parts = _Parts(unit_seq2seq.Model(card.model), voices)
            fill(parts, path)
            found = cls(parts.model, vocabulary, card.languages, card.output, speakers=card.speakers,
                        voices=parts.voices, name=card.name, licence=card.licence, training=card.training)  # fmt: skip
        stored.check_identity(path, found.sha256, card.sha256)
        return found
