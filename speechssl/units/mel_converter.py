"""A mel converter on disk, and as a voice; a mel reader on disk.

card.json           config, name, licence, sha256
model.safetensors   weights, mean and scale of the mels, and styles of the speakers

T mel frames, M mel bins, S numbers of a style.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from speechssl import config
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.samples import samples_at
from speechssl.data.speaker_embedding import HEARD
from speechssl.errors import AudioError, DataError
from speechssl.units import stored
from speechssl.units.mel_vocoder import TrainedMelVocoder, sounded, sounded_by
from speechssl.units.units import Units
from speechssl.vocoders.mel_converter import Config, MelConverter
from speechssl.vocoders.mel_reader import Config as ReaderConfig
from speechssl.vocoders.mel_reader import MelReader

FORMAT = "speechssl-mel-converter-1"
READER_FORMAT = "speechssl-mel-reader-1"
_MOST_BYTES = 16 << 20  # of card.json


@dataclass(frozen=True)
class MelReaderCard:
    """card.json of a mel reader, field by field."""

    format: str
    config: ReaderConfig
    sha256: str
    unit_model: str = ""  # hash of the model whose units it hears
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MelConverterCard:
    """card.json of a mel converter, field by field."""

    format: str
    name: str
    config: Config
    sha256: str
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


def save_reader(
    folder: str | Path, reader: MelReader, *, unit_model: str = "", training: dict[str, Any] | None = None
) -> MelReaderCard:
    """Write a mel reader into `folder`, made if absent; returns its card."""
    card = MelReaderCard(READER_FORMAT, reader.config, _sha256(READER_FORMAT, reader), unit_model, training or {})
    return stored.write(folder, reader, card)


def load_reader(folder: str | Path) -> MelReader:
    """A mel reader in eval mode. CheckpointError where files are missing, damaged or not those of card.json."""
    card = stored.read_card(folder, MelReaderCard, READER_FORMAT, "mel reader", "recipes.mel_reader")
    return _load(Path(folder), READER_FORMAT, lambda: MelReader(card.config), card.sha256)


def save(
    folder: str | Path, converter: MelConverter, *, name: str = "mel converter", licence: str = "",
    training: dict[str, Any] | None = None,
) -> MelConverterCard:  # fmt: skip
    """Write a mel converter into `folder`, made if absent; returns its card."""
    card = MelConverterCard(FORMAT, name, converter.config, _sha256(FORMAT, converter), licence, training or {})
    return stored.write(folder, converter, card)


def load(folder: str | Path, vocoder: TrainedMelVocoder | None = None) -> "TrainedMelConverter":
    """A mel converter in eval mode; vocoder: of its mels, in place of Griffin-Lim.

    CheckpointError where files are missing, damaged or not those of card.json; DataError for a vocoder of other mels.
    """
    card = stored.read_card(folder, MelConverterCard, FORMAT, "mel converter", "recipes.stargan_vc")
    module = _load(Path(folder), FORMAT, lambda: MelConverter(card.config), card.sha256)
    return TrainedMelConverter(module, card, vocoder=vocoder)


def is_one(folder: str | Path) -> bool:
    """Whether a folder says that it holds a mel converter."""
    return stored.is_one(folder, FORMAT)


M = TypeVar("M", MelReader, MelConverter)


def _sha256(form: str, module: MelReader | MelConverter) -> str:
    return stored.digest([form, config.to_dict(module.config)], module)


def _load(folder: Path, form: str, build: Callable[[], M], stated: str) -> M:
    with stored.reading(folder, "weights"):
        module = stored.read_weights(folder, build)
    stored.check_identity(folder, _sha256(form, module), stated)
    return module


@dataclass(frozen=True)
class TrainedMelConverter:
    """A trained mel converter with its card: `converter("source.wav", to="anna")` is a waveform.

    DataError for a vocoder of other mels.
    """

    module: MelConverter
    card: MelConverterCard
    iterations: int = 60  # of Griffin-Lim
    vocoder: TrainedMelVocoder | None = None  # in its place

    def __post_init__(self) -> None:
        """Refuse a vocoder of other mels."""
        if self.vocoder is not None:
            self.vocoder.check(self.module.config.reader.mel_definition, f"mel converter {self.card.name!r}")

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.module.config.reader.sample_rate

    def __call__(self, source: str | Path, to: str | Path) -> Tensor:
        """wav [S] float32 at `sample_rate` Hz; see `speak_as`. AudioError for a recording of no use."""
        return self.speak_as(to)(self.mel_of(samples_at(source, None, self.sample_rate)))

    def speak_as(self, to: str | Path) -> "ConvertedVoice":
        """As a speaker that it knows by name; or in the style of a recording, or corpus, of one of them.

        The style of a recording is found as that of its utt2spk's speaker, where that is known, else of the one that it
        is most like. DataError for what is neither.
        """
        names, name = self.module.config.speakers, "_".join(Path(to).stem.split()) or "target"
        if str(to) in names:
            return ConvertedVoice(self, self.module.voices[names.index(str(to))], "_".join(str(to).split()))
        if not Path(to).exists():
            raise DataError(f"{to}: neither a speaker of this mel converter ({', '.join(names[:20])}) nor a recording")
        styles = []
        for utterance in islice(open_corpus(to).utterances, HEARD):
            mel = self.mel_of(read_utterance(utterance, sample_rate=self.sample_rate).samples)
            styles.append(self._style(mel, utterance.speaker))
        if not styles:
            raise DataError(f"{to}: no recording to sound like")
        return ConvertedVoice(self, torch.stack(styles).mean(0), name)

    def mel_of(self, samples: np.ndarray) -> Tensor:
        """Log mels [T, M] of samples [S]. AudioError for less than a frame."""
        hop = self.module.config.reader.hop
        if len(samples) < hop:
            raise AudioError("too-short", f"{len(samples)} samples are no mel frame, which has {hop}")
        wav = torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None]
        return self.module.reader.mels(wav, torch.tensor([len(samples)]), len(samples) // hop)[0]

    def _style(self, mel: Tensor, speaker: str | None) -> Tensor:
        """[S] of log mels [T, M]."""
        names = self.module.config.speakers
        if speaker not in names:
            return self.module.nearest(mel)[1]
        number = torch.tensor([names.index(str(speaker))])
        return self.module.style(self.module.normalized(mel)[None], number)[0]


@dataclass(frozen=True)
class ConvertedVoice:
    """A mel converter that always speaks as one speaker; offers what `extract.resynthesis` wants of a voice."""

    converter: TrainedMelConverter
    style: Tensor  # [S]
    name: str  # for tables: without spaces

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.converter.sample_rate

    @property
    def identity(self) -> str:
        """What decides the samples."""
        told, own = hashlib.sha256(self.style.numpy().tobytes()).hexdigest(), self.converter
        return f"{own.card.sha256} as {told} {sounded_by(own.vocoder, own.iterations)}"

    @property
    def has_pitch(self) -> bool:
        """It hears it itself."""
        return False

    @property
    def takes_units(self) -> bool:
        """Mels are what it speaks."""
        return False

    def hear(self, model: object, samples: np.ndarray) -> Tensor:
        """Log mels [T, M] of samples [S] at its rate; there is no unit model."""
        return self.converter.mel_of(samples)

    def __call__(
        self, units: Units | Tensor | np.ndarray, speaker: str | None = None, pitch: Tensor | None = None
    ) -> Tensor:
        """wav [S] float32 of a source's log mels [T, M], in place of units. DataError for anything else."""
        if not isinstance(units, Tensor) or pitch is not None:
            raise DataError("a mel converter takes mels of recordings, no units and no pitch")
        own = self.converter
        made = own.module.convert(units, self.style)
        return sounded(made, own.module.config.reader.mel_definition, own.vocoder, own.iterations)

    def check(self, unit_model: str) -> None:
        """It speaks no units, so that any would do."""

    def predict_durations(self, ids: np.ndarray) -> np.ndarray:
        """DataError: it has no units."""
        raise DataError("a mel converter knows no units: --durations kept")

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """DataError: it takes no pitch."""
        raise DataError("a mel converter takes no pitch")
