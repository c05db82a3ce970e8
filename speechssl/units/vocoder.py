"""A unit vocoder on disk, with the unit model whose units it speaks.

card.json           config, rates, the unit model's hash, name, licence, sha256
model.safetensors   plain weights, without weight norm
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from speechssl import config, files
from speechssl.convert import code_hifigan
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.units import stored
from speechssl.units.model import UnitModel
from speechssl.units.units import Units
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder

FORMAT = "speechssl-vocoder-1"
M = TypeVar("M", bound=nn.Module)
Precision = Literal["fp32", "bf16"]
_BUILT_IN = Path(__file__).parents[1] / "assets" / "vocoder"  # speaks the units of the built-in unit model
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_MOST_BYTES = 16 << 20  # of card.json
# Settings that came later; with these values a vocoder is what it was without them, and its hash stays.
_LATER = {"speaker_inputs": 0, "pitch_channels": 0, "pitch_bins": 0, "pitch_centres": (), "last_slope": 0.1,
          "pitch_coder": None,
          "durations": None}  # fmt: skip


@dataclass(frozen=True)
class SpokenUnits:
    """Whose units a vocoder speaks."""

    num_units: int
    rate_hz: float
    sha256: str = ""  # `UnitModel.hash`; empty: not known, then size and rate alone are checked
    name: str = ""

    def __str__(self) -> str:
        """For messages."""
        return f"{self.num_units} units at {self.rate_hz:g} Hz of {self.name!r} (unit model {self.sha256[:12] or '?'}…)"

    def check(self, unit_model: str, what: str) -> None:
        """DataError unless these are units of the unit model with this hash; what: speaks them, for the message."""
        if self.sha256 and unit_model != self.sha256:
            raise DataError(f"units of unit model {unit_model[:12]}…, but this {what} speaks {self}: the same numbers "
                            "would be other sounds")  # fmt: skip

    def frames_of(self, units: Units, what: str) -> np.ndarray:
        """Ids [T] of every frame. DataError for units of another number or rate."""
        if (units.size, units.rate_hz) != (self.num_units, self.rate_hz):
            raise DataError(f"units of {units.size} kinds at {units.rate_hz:g} Hz: this {what} speaks {self}")
        return units.frames()

    @classmethod
    def of_folder(cls, folder: str | Path) -> "SpokenUnits":
        """Of an output folder of `speechssl units`. DataError where it is none."""
        path = Path(folder) / "units.json"
        try:
            model = files.read_json(path, most=_MOST_BYTES)["model"]
            return cls(int(model["num_units"]), float(model["rate_hz"]), str(model["unit_model"]), str(model["name"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: not a finished output of speechssl units ({error})") from None


@dataclass(frozen=True)
class VocoderCard:
    """card.json, field by field."""

    format: str
    name: str
    config: Config
    units: SpokenUnits
    sample_rate: int  # Hz
    rate_hz: float  # units per second
    sha256: str  # `sha256` of the vocoder
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Vocoder:
    """A trained unit vocoder with its card: units to a waveform."""

    module: UnitVocoder
    card: VocoderCard

    def __call__(
        self, units: Units | Tensor | np.ndarray, speaker: str | Tensor | None = None, pitch: Tensor | None = None
    ) -> Tensor:
        """wav [S] float32 at `card.sample_rate` Hz of units: `Units`, or ids [T] of every frame.

        Units that were merged are spoken with their durations. speaker: a name, or an embedding [E] where the vocoder
        takes one. pitch: of every frame, see `UnitVocoder`. DataError for no units, unknown ones, units of another
        number or rate, and a speaker or pitch that does not fit.
        """
        if isinstance(units, Units):
            units = self.card.units.frames_of(units, "vocoder")
        device = next(self.module.parameters()).device
        who = speaker.to(device) if isinstance(speaker, Tensor) else self.speaker(speaker)
        pitch = None if pitch is None else pitch.to(device)
        return self.module.synthesize(torch.as_tensor(units).to(device), who, pitch).cpu()

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.card.sample_rate

    @property
    def identity(self) -> str:
        """What decides the samples."""
        return self.card.sha256

    @property
    def has_pitch(self) -> bool:
        """Whether it is told the pitch of every unit."""
        return self.module.config.has_pitch

    @property
    def takes_units(self) -> bool:
        """Units are what it speaks."""
        return True

    def hear(self, model: UnitModel, samples: np.ndarray) -> Units:
        """Units of samples [S] at the model's rate."""
        return model(samples, model.sample_rate)

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """What it takes of normalised log F0 and voicing [..., 2]; see `UnitVocoder.pitch_input`."""
        return self.module.pitch_input(pitch)

    def accelerate(self, precision: Precision = "fp32") -> "Vocoder":
        """Itself, several times as fast on a CPU in bf16, for generators of kind wave with leaky ReLUs (HiFi-GAN's).

        fp32 changes no sample but for rounding, and nothing where there is no faster form. ConfigError for bf16 there.
        """
        possible = self.module.accelerate(DTYPES[precision])
        if precision != "fp32" and not possible:
            raise no_fast_form(precision)
        return self

    def predict_durations(self, ids: np.ndarray) -> np.ndarray:
        """Frames [N] int64 of deduplicated ids [N]. DataError for a vocoder that was not taught that."""
        device = next(self.module.parameters()).device
        return self.module.predict_durations(torch.from_numpy(ids).to(device)).cpu().numpy()

    def speaker(self, name: str | None) -> int | None:
        """A speaker's number; DataError for a name that is not there, or missing."""
        names = self.module.config.speakers
        if name is None and not names:
            return None  # of one voice, or told by an embedding
        if name not in names:
            known = f"choose from {', '.join(names[:20])}" if names else "it has one voice without a name"
            raise DataError(f"speaker {name!r}: not one of this vocoder's ({known})")
        return names.index(name)

    def check(self, unit_model: str) -> None:
        """DataError unless units of the unit model with this hash (`UnitModel.hash`) are what the vocoder speaks."""
        self.card.units.check(unit_model, "vocoder")


def no_fast_form(precision: Precision) -> ConfigError:
    """What to say where a generator cannot be accelerated."""
    return ConfigError(f"no {precision} for this vocoder here: it needs a generator of kind wave with leaky ReLUs and "
                       "a CPU that multiplies in bfloat16")  # fmt: skip


def sha256(vocoder: UnitVocoder) -> str:
    """Identity of a vocoder: over its config and every tensor."""
    return stored.digest([FORMAT, stored.without(config.to_dict(vocoder.config), _LATER)], vocoder)


def save(
    folder: str | Path, vocoder: UnitVocoder, units: SpokenUnits, *, name: str = "vocoder", licence: str = "",
    training: dict[str, Any] | None = None,
) -> VocoderCard:  # fmt: skip
    """Write a vocoder with plain weights (`Learning.trained`) into `folder`, made if absent; returns its card.

    ConfigError where it does not fit the units.
    """
    check_fits(vocoder, units)
    card = VocoderCard(FORMAT, name, vocoder.config, units, vocoder.sample_rate, vocoder.rate_hz, sha256(vocoder),
                       licence, training or {})  # fmt: skip
    return stored.write(folder, vocoder, card)


def check_fits(vocoder: UnitVocoder, units: SpokenUnits) -> None:
    """ConfigError for units that a vocoder of this shape cannot speak."""
    if (vocoder.config.num_units, vocoder.rate_hz) != (units.num_units, units.rate_hz):
        raise ConfigError(f"{units.num_units} units at {units.rate_hz:g} Hz for a vocoder of "
                          f"{vocoder.config.num_units} units that makes {vocoder.hop} samples of each, at "
                          f"{vocoder.rate_hz:g} Hz: set vocoder.generator's strides to the units' rate")  # fmt: skip


def read_card(folder: str | Path) -> VocoderCard:
    """card.json, checked for its form only. CheckpointError where there is none."""
    return stored.read_card(folder, VocoderCard, FORMAT, "vocoder", "recipes.vocoder")


def load_released(folder: Path) -> Vocoder:
    """A CodeHiFiGAN of fairseq or textlesslib: config.json and one checkpoint in a folder. CheckpointError if not."""
    others = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix not in (".json", ".txt", ".md"))
    if len(others) != 1:
        raise CheckpointError(f"{folder}: a released vocoder is config.json and one checkpoint, found "
                              f"{', '.join(path.name for path in others[:5]) or 'no checkpoint'}")  # fmt: skip
    vocoder = code_hifigan.load(folder / "config.json", others[0])
    units = SpokenUnits(vocoder.config.num_units, vocoder.rate_hz)
    card = VocoderCard(FORMAT, others[0].name, vocoder.config, units, vocoder.sample_rate, vocoder.rate_hz,
                       sha256(vocoder))  # fmt: skip
    return Vocoder(vocoder, card)


def find(folder: str | Path) -> Path:
    """`folder` itself, or where the built-in vocoder is: "default", unless there is a folder of that name."""
    return _BUILT_IN if str(folder) == "default" and not Path(folder).exists() else Path(folder)


def load(folder: str | Path) -> Vocoder:
    """A vocoder in eval mode: ours, the built-in one ("default"), or a released one (`load_released`).

    CheckpointError where files are missing, damaged or not those of card.json.
    """

    folder = find(folder)
    if not (folder / "card.json").exists() and (folder / "config.json").is_file():
        return load_released(folder)
    card = read_card(folder)
    with stored.reading(folder, "vocoder"):
        vocoder = stored.read_weights(folder, lambda: UnitVocoder(card.config))
        check_fits(vocoder, card.units)
    stored.check_identity(folder, sha256(vocoder), card.sha256)
    return Vocoder(vocoder, card)
