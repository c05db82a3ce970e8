"""A trained model from units to units: in one model all directions between its languages.

On disk one folder: `card.json` and `model.safetensors`. A unit BART is one, too, that knows no direction yet; what
translates begins with it. The card names the unit model: other units are an error, never another translation.

B utterances, T units.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl import config
from speechssl.decoders import transformer, unit_seq2seq
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.unit_seq2seq import encode_rows, search_rows
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.generation.model import Output
from speechssl.generation.stored import fill
from speechssl.units import stored
from speechssl.units.model import UnitModel
from speechssl.units.stored import without
from speechssl.units.units import Units

FORMAT = "speechssl-unit-translator-1"


@dataclass(frozen=True)
class StoredCard:
    """card.json, field by field."""

    format: str
    name: str
    model: unit_seq2seq.Config
    languages: tuple[str, ...]  # in the order of tags
    targets: tuple[str, ...]  # languages that it translates into; none: it restores what was taken out
    output: Output
    sha256: str
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


class UnitTranslator:
    """Units to units of another language."""

    def __init__(
        self, model: unit_seq2seq.Model, languages: Sequence[str], output: Output, *, targets: Sequence[str] = (),
        name: str = "", licence: str = "", training: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if len(languages) != model.config.num_languages or not set(targets) <= set(languages):
            raise CheckpointError(f"a model with {model.config.num_languages} tags does not fit the languages "
                                  f"{', '.join(languages)}, into {', '.join(targets) or 'none'}")  # fmt: skip
        self.model = model.eval().requires_grad_(False)
        self.languages, self.targets, self.output = tuple(languages), tuple(targets), output
        self.name, self.licence, self.training = name, licence, training or {}

    @property
    def num_symbols(self) -> int:
        """V."""
        return self.model.config.num_units

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.tags.weight.device

    @cached_property
    def sha256(self) -> str:
        """Identity: over model, weights, languages and what units are."""
        model = without(config.to_dict(self.model.config), unit_seq2seq.LATER)
        head = [FORMAT, model, self.languages, self.targets, config.to_dict(self.output)]
        return stored.digest(head, self.model)

    def to(self, device: str | torch.device) -> "UnitTranslator":
        """Itself, moved to a device."""
        self.model.to(device)
        return self

    def __call__(
        self, units: "Units | np.ndarray | Sequence[int]", target: str | None = None, *, search: Search | None = None
    ) -> np.ndarray:  # fmt: skip
        """The best translation, [L] int64, of `Units` or of unit numbers [T], runs merged where the model's are.

        target: the wanted language, where the model has several. DataError for no units and for unknown ones.
        """
        (found,) = self.into(target).hypotheses_of([self.as_read(units)], search)
        return self.spell(found[0].tokens if found else ())

    def into(self, target: str | None = None, units: UnitModel | None = None) -> "Into":
        """The translator into one language, of recordings where a unit model is given.

        target: None: the only one. ConfigError for a language that it does not know, and for other units.
        """
        if not self.targets:
            raise ConfigError("this model restores units and translates into no language yet: train it further with "
                              "recipes.unit_translation")  # fmt: skip
        if target is None and len(self.targets) > 1:
            raise ConfigError(f"this model translates into {', '.join(self.targets)}: say which (--target-language)")
        target = target or self.targets[0]
        if target not in self.targets:
            raise ConfigError(f"this model does not translate into {target!r}, but into {', '.join(self.targets)}")
        if units is not None and self.output.unit_model not in (None, units.hash):
            raise ConfigError(f"unit model {units.hash[:12]} makes other units than this model reads, which are of "
                              f"{str(self.output.unit_model)[:12]}")  # fmt: skip
        if units is not None and units.size != self.num_symbols:
            raise ConfigError(f"this model reads {self.num_symbols} units, the unit model makes {units.size}")
        return Into(self, target, units)

    def as_read(self, units: "Units | np.ndarray | Sequence[int]") -> np.ndarray:
        """Unit numbers [T] int64 as the model reads them."""
        ids = np.asarray(units.frames() if isinstance(units, Units) else units, dtype=np.int64)
        return ids[np.diff(ids, prepend=-1) != 0] if self.output.reduced else ids

    def spell(self, tokens: Sequence[int]) -> np.ndarray:
        """Units [L] int64 of symbols."""
        return np.array(tokens, dtype=np.int64)

    def describe(self) -> StoredCard:
        """The card as it is stored."""
        return StoredCard(FORMAT, self.name, self.model.config, self.languages, self.targets, self.output, self.sha256,
                          self.licence, self.training)  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write the model into `folder` (made if absent); the card goes first and comes last."""
        stored.write(Path(folder), self.model, self.describe())

    @classmethod
    def load(cls, folder: str | Path) -> "UnitTranslator":
        """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
        path = Path(folder)
        card = stored.read_card(path, StoredCard, FORMAT, "model from units to units")
        with stored.reading(path, "model from units to units"):
            with torch.device("meta"):  # no memory, whatever the card says
                model = unit_seq2seq.Model(card.model)
            fill(model, path)
            found = cls(model, card.languages, card.output, targets=card.targets, name=card.name, licence=card.licence,
                        training=card.training)  # fmt: skip
        stored.check_identity(path, found.sha256, card.sha256)
        return found


@dataclass(frozen=True)
class Into:
    """A `UnitTranslator` into one language: with a unit model it offers what `Seq2Seq` does."""

    translator: UnitTranslator
    target: str
    units: UnitModel | None = None

    @property
    def output(self) -> Output:
        """What symbols are."""
        return self.translator.output

    @property
    def num_symbols(self) -> int:
        """V."""
        return self.translator.num_symbols

    @property
    def decoder(self) -> transformer.Model:
        """What says symbols."""
        return self.translator.model.decoder

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms it takes."""
        return self._unit_model.sample_rate

    @property
    def _unit_model(self) -> UnitModel:
        if self.units is None:
            raise ConfigError("recordings need the unit model that this translator's units are of")
        return self.units

    @property
    def sha256(self) -> str:
        """Identity of what it says."""
        return f"{self.translator.sha256} into {self.target}"

    def spell(self, tokens: Sequence[int]) -> np.ndarray:
        """Units [L] int64 of symbols."""
        return self.translator.spell(tokens)

    def hypotheses(
        self, waves: Sequence[Tensor], search: Search | None = None, *, ctc_weight: float = 0.0
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each of several utterances [S] at `sample_rate`; none for one without a unit."""
        if ctc_weight:
            raise ConfigError("a model from units to units has no CTC head: leave ctc_weight out")
        return self.hypotheses_of([self._read(wave) for wave in waves], search, empty=True)

    def hypotheses_of(
        self, units: Sequence[np.ndarray], search: Search | None = None, *, empty: bool = False
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each of several utterances' units [T]; empty: none for one without, else DataError."""
        if not empty and not all(len(row) for row in units):
            raise DataError("an utterance without units has no translation")
        return search_rows(self.translator.model, self._known(units), [self._tag] * len(units), search or Search())

    def memories(self, waves: Sequence[Tensor]) -> tuple[list[int], Tensor, Tensor]:
        """`memories_of` of the units of several utterances [S] at `sample_rate`."""
        return self.memories_of([self._read(wave) for wave in waves])

    def memories_of(self, units: Sequence[np.ndarray]) -> tuple[list[int], Tensor, Tensor]:
        """What the decoder looks at: which of several utterances [T] have a unit, [B, T + 1, C] of these, counts [B].

        DataError for unknown units.
        """
        return encode_rows(self.translator.model, self._known(units), [self._tag] * len(units))

    @property
    def _tag(self) -> int:
        return self.translator.languages.index(self.target)

    def _known(self, units: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        if any(len(row) and (row.min() < 0 or row.max() >= self.num_symbols) for row in units):
            raise DataError(f"this model knows the units 0..{self.num_symbols - 1}, and others came")
        return units

    def _read(self, wave: Tensor) -> np.ndarray:
        return self.translator.as_read(self._unit_model(wave.numpy(), self.sample_rate))


def is_unit_translator(folder: str | Path) -> bool:
    """Whether a folder holds a model from units to units. Nothing else is looked at."""
    return stored.is_one(folder, FORMAT)
