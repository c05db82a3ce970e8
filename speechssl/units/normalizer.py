"""The unit normaliser: speech of anybody to the units that a reference speaker's saying of it has.

"Textless Speech-to-Speech Translation on Real Data" (arXiv:2112.08352): an encoder is fine-tuned with CTC on recordings
of many speakers, towards the merged units of one reference speaker who says the same. Its best path is "normalised"
units. They are numbers of the reference's unit model and bear its hash, so a vocoder of that model speaks them, and
they are targets wherever merged units are; how long each lasts is not known.

On disk a recogniser's folder (`recognition.model`), whose symbols are the units, and `normalizer.json` beside it.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechssl import config, files
from speechssl.data.samples import samples_at
from speechssl.decoders.vocabulary import BLANK, Vocabulary
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError, ConfigError
from speechssl.metrics.units import deduplicate
from speechssl.quantizers._checks import check_frames
from speechssl.recognition.model import Recognizer
from speechssl.units.card import MOST_UNITS, NORMALIZER
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits

if TYPE_CHECKING:
    from speechssl.audio import Audio

FORMAT = "speechssl-unit-normalizer-1"
_MOST_BYTES = 1 << 20  # of normalizer.json


@dataclass(frozen=True)
class NormalizerCard:
    """normalizer.json, field by field."""

    format: str
    units: SpokenUnits  # the reference's
    recognizer: str  # sha256 of what lies beside it


@dataclass(frozen=True)
class BestPath:
    """Log probabilities [T, V + 1], the blank last, to the units [N] that CTC's best path writes."""

    size: int  # V

    @property
    def dim(self) -> int:
        """V and the blank."""
        return self.size + 1

    def tensors(self) -> dict[str, Tensor]:
        """None: all that is learned is in the log probabilities."""
        return {}

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """The best symbol [...] int64 of frames [..., V + 1], V for the blank. DataError for NaN."""
        return check_frames(frames, self.dim).argmax(-1)

    def decode(self, ids: Tensor) -> Tensor:
        """Raises ConfigError: units that are written stand for no frame."""
        raise ConfigError("units of a normaliser have no codebook: no frame stands for them")

    def sequence(self, ids: np.ndarray) -> np.ndarray:
        """Units [N] of a symbol per frame [T]: runs merged, blanks taken out.

        differs: equal units with a blank between are one, too, where fairseq's decoder leaves both: what the model
        learned from has no unit twice in a row.
        """
        return deduplicate(ids[ids != self.size])


class UnitNormalizer:
    """Waveform to merged `Units` of the reference speaker's unit model."""

    def __init__(self, recognizer: Recognizer, units: SpokenUnits) -> None:
        if recognizer.transducer is not None or recognizer.vocabulary != vocabulary_of(units.num_units):
            raise CheckpointError(f"a recogniser of {len(recognizer.vocabulary)} symbols does not write {units} by CTC")
        self.recognizer, self.units = recognizer, units
        self.quantizer = BestPath(units.num_units)

    @property
    def size(self) -> int:
        """V, the number of units."""
        return self.units.num_units

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform it takes."""
        return self.recognizer.sample_rate

    @property
    def rate_hz(self) -> float:
        """Units a second of the reference's unit model, before merging."""
        return self.units.rate_hz

    @property
    def hash(self) -> str:
        """Whose units these are: `UnitModel.hash` of the reference's. Its own identity is `recognizer.sha256`."""
        return self.units.sha256

    @cached_property
    def pretrained(self) -> Pretrained:
        """Encoder and head as an encoder whose only layer, 0, is log probabilities [T, V + 1]."""
        return self.recognizer.pretrained

    def __call__(self, audio: "str | Path | Audio | np.ndarray | Tensor", sample_rate: int | None = None) -> Units:
        """Merged units of a file, of `read_audio`'s result, or of samples [S] in [-1, 1] at sample_rate Hz (resampled).

        Their durations are not known and stand as 1: `Vocoder.predict_durations` of `ids` gives some. None are written
        of too few samples for a frame, and perhaps of silence. Raises AudioError for a recording that cannot be used.
        """
        samples = torch.from_numpy(samples_at(audio, sample_rate, self.sample_rate))
        return self.quantize(self.pretrained.features_long(samples.to(self.recognizer.device), 0))

    def quantize(self, log_probs: Tensor) -> Units:
        """Merged units of log probabilities [T, V + 1] of an utterance."""
        ids = self.quantizer.sequence(self.quantizer.encode(log_probs).cpu().numpy())
        return Units.from_frames(ids, rate_hz=self.rate_hz, size=self.size)

    def save(self, folder: str | Path) -> None:
        """Write it into `folder` (made if absent); normalizer.json goes first and comes last."""
        folder = Path(folder)
        (folder / NORMALIZER).unlink(missing_ok=True)
        self.recognizer.save(folder)
        card = NormalizerCard(FORMAT, self.units, self.recognizer.sha256)
        temporary = folder / f".{NORMALIZER}.tmp"
        temporary.write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(folder / NORMALIZER)

    @classmethod
    def load(cls, folder: str | Path) -> "UnitNormalizer":
        """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
        card = _read_card(Path(folder))
        recognizer = Recognizer.load(folder)
        if recognizer.sha256 != card.recognizer:
            raise CheckpointError(f"{folder}: {NORMALIZER} belongs to another recogniser than the one beside it")
        return cls(recognizer, card.units)


def vocabulary_of(num_units: int) -> Vocabulary:
    """Units as symbols under their numbers, the blank behind them: a symbol's place is its unit."""
    return Vocabulary((*map(str, range(num_units)), BLANK), blank=num_units, word_boundary=None, kind="phones")


def _read_card(folder: Path) -> NormalizerCard:
    try:
        raw = files.read_json(folder / NORMALIZER, most=_MOST_BYTES)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f'format is not "{FORMAT}"')
        card = config.build(NormalizerCard, raw)
        if not (0 < card.units.num_units <= MOST_UNITS and 0.01 < card.units.rate_hz < 1e6 and card.units.sha256):
            raise ValueError(f"no unit model has {card.units}")
        return card
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / NORMALIZER}: not a unit normaliser: {error}") from error
