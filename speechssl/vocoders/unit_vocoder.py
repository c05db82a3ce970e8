"""Units to waveform: an embedding of each unit, its pitch, the speaker, then HiFi-GAN's generator at the units' rate.

CodeHiFiGAN of arXiv:2104.00355, section 2.2: unit, pitch and speaker are put side by side, the speaker beside every
frame. Pitch is numbers (such as normalised log F0, and voicing), or the number of a bin, which has an embedding: of a
scalar codebook (`pitch_centres`), or the code that a VQ-VAE of contours (`pitch_coder`) has for several units. The
generator is that of arXiv:2010.05646 (or any of `vocoders.generators`) and makes as many samples of a unit as fit its
rate: 320 at 16 kHz for 50 units a second.

Frames: unit t of an encoder with a hop of 320 samples stands for samples 320 t .. 320 t + 319, though the encoder saw
400 of them. T units give exactly T * hop samples; the last samples of a recording, which are of no frame, are not made.

B utterances, T frames, C channels, S samples, P numbers of pitch, E channels of an outside speaker embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.config import to_dict
from speechssl.errors import ConfigError, DataError
from speechssl.vocoders import generators
from speechssl.vocoders.durations import Settings as DurationSettings
from speechssl.vocoders.durations import VariancePredictor, whole_frames
from speechssl.vocoders.frame_vocoder import PIECE, FrameVocoder
from speechssl.vocoders.pitch_coder import Config as PitchCoderConfig
from speechssl.vocoders.pitch_coder import PitchCoder

_MOST = 1 << 24  # units and channels: a thousand times what any vocoder has


@dataclass(frozen=True)
class Config:
    """What a vocoder is made of."""

    num_units: int = 0  # V; recipes.vocoder takes it from the units
    dim: int = 128  # channels of a unit's embedding (speech-resynthesis, configs/LJSpeech: 128)
    speakers: tuple[str, ...] = ()  # names, each with an embedding; none: one voice
    speaker_dim: int = 128
    sample_rate: int = 16000  # Hz
    generator: dict[str, Any] = field(default_factory=lambda: {"kind": "wave"})  # see `vocoders.generators`
    speaker_inputs: int = 0  # channels of a speaker embedding from outside, in place of names
    pitch_channels: int = 0  # numbers beside each frame: 1 is log F0, 2 is log F0 and voicing
    pitch_bins: int = 0  # or so many bins of F0, each with an embedding of `dim` channels
    pitch_centres: tuple[float, ...] = ()  # of bins 1, 2 ..: normalised log F0, rising; bin 0 is unvoiced
    last_slope: float = 0.1  # of the leaky ReLU before the last convolution; 0.01 in released vocoders
    durations: DurationSettings | None = None  # a predictor for deduplicated units
    pitch_coder: PitchCoderConfig | None = None  # whose codes the bins are

    @property
    def has_pitch(self) -> bool:
        """Whether it is told the pitch of every unit."""
        return bool(self.pitch_bins or self.pitch_channels)

    def __post_init__(self) -> None:
        """Refuse sizes that no vocoder has."""
        centres = self.pitch_centres
        if centres and (len(centres) != self.pitch_bins - 1 or list(centres) != sorted(set(centres))):
            raise ConfigError(f"{self.pitch_bins} bins of pitch need {self.pitch_bins - 1} rising pitch_centres")
        if self.pitch_coder is not None and (centres or self.pitch_bins != self.pitch_coder.num_codes):
            raise ConfigError(f"a coder of pitch needs pitch_bins={self.pitch_coder.num_codes}, its codes, and no "
                              "pitch_centres")  # fmt: skip
        if not 1 <= self.dim <= _MOST or not 1 <= self.speaker_dim <= _MOST or not 0 <= self.num_units <= _MOST:
            raise ConfigError(f"a vocoder needs dim and speaker_dim of at least 1, got {self.dim}, {self.speaker_dim}, "
                              f"for {self.num_units} units")  # fmt: skip
        if not 4000 <= self.sample_rate <= 192_000:
            raise ConfigError(f"sample_rate must be 4000..192000 Hz, got {self.sample_rate}")
        if (
            max(self.speaker_inputs, self.pitch_channels, self.pitch_bins) > _MOST
            or min(self.speaker_inputs, self.pitch_channels, self.pitch_bins) < 0
        ):
            raise ConfigError("speaker_inputs, pitch_channels and pitch_bins are numbers from 0 on")
        if (self.speakers and self.speaker_inputs) or (self.pitch_channels and self.pitch_bins):
            raise ConfigError("a vocoder has names of speakers or speaker_inputs, pitch_channels or pitch_bins, not "
                              "both")  # fmt: skip
        if len(set(self.speakers)) < len(self.speakers):
            raise ConfigError("speakers: a name is there twice")


class UnitVocoder(FrameVocoder):
    """`config` is the given one with all defaults spelt out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not config.num_units:
            raise ConfigError("a vocoder needs num_units, the number of units of its unit model")
        settings = generators.parse(config.generator)
        self.config = replace(config, generator={"kind": config.generator["kind"], **to_dict(settings)})
        self.units = nn.Embedding(config.num_units, config.dim)
        self.speakers: nn.Embedding | nn.Linear | None = None
        if config.speakers:
            self.speakers = nn.Embedding(len(config.speakers), config.speaker_dim)
        elif config.speaker_inputs:
            self.speakers = nn.Linear(config.speaker_inputs, config.speaker_dim)
        self.pitch = nn.Embedding(config.pitch_bins, config.dim) if config.pitch_bins else None
        self.pitch_coder = None if config.pitch_coder is None else PitchCoder(config.pitch_coder).requires_grad_(False)
        dim = config.dim + (config.dim if config.pitch_bins else config.pitch_channels)
        dim += (self.speakers is not None) * config.speaker_dim
        self.generator = generators.build(dim, settings, last_slope=config.last_slope)
        self.durations = None if config.durations is None else VariancePredictor(config.dim, config.durations)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def rate_hz(self) -> float:
        """Units per second."""
        return self.sample_rate / self.hop

    def forward(
        self, ids: Tensor, speakers: Tensor | None = None, valid: Tensor | None = None, *, pitch: Tensor | None = None
    ) -> Tensor:
        """wav [B, T * hop] of ids [B, T] int64; `valid` [B, T] are real frames (None: all).

        speakers: numbers [B] int64, or embeddings [B, E]. pitch: [B, T, P], or bins [B, T] int64.
        """
        return self.sound(self.frames(ids, speakers, pitch), valid)

    def frames(self, ids: Tensor, speakers: Tensor | None = None, pitch: Tensor | None = None) -> Tensor:
        """What the generator is given, [B, T, C]."""
        parts = [self.units(ids)]
        if (speakers is None) != (self.speakers is None):
            raise DataError("a vocoder of several speakers must be told which one speaks, and one of one voice not")
        if (pitch is None) == self.config.has_pitch:
            raise DataError("a vocoder with pitch must be told it, and one without must not")
        if pitch is not None:
            parts.append(pitch.to(parts[0].dtype) if self.pitch is None else self.pitch(pitch))
        if self.speakers is not None:
            parts.append(self.speakers(speakers).unsqueeze(1).expand(-1, ids.shape[1], -1))
        return torch.cat(parts, 2) if len(parts) > 1 else parts[0]

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """What `forward` takes, of normalised log F0 and voicing [..., T, 2]: numbers [..., T, P], or bins [..., T].

        DataError where it takes none, or bins whose centres are not known.
        """
        if self.pitch_coder is not None:
            return self.coded(pitch)
        if self.config.pitch_channels:
            if self.config.pitch_channels > pitch.shape[-1]:
                raise DataError(
                    f"this vocoder takes {self.config.pitch_channels} numbers of pitch, not log F0, voicing"
                )
            return pitch[..., : self.config.pitch_channels]
        if not self.config.pitch_centres:
            raise DataError("this vocoder takes no pitch, or nobody knows what its bins are")
        centres = torch.tensor(self.config.pitch_centres, device=pitch.device, dtype=pitch.dtype)
        bounds = (centres[1:] + centres[:-1]) / 2
        return torch.where(pitch[..., 1] > 0.5, torch.bucketize(pitch[..., 0].contiguous(), bounds) + 1, 0)

    def coded(self, contour: Tensor) -> Tensor:
        """Bins [..., T] int64 by the coder, of its numbers [..., frames_per_unit * T, I] as it learned them.

        DataError without a coder, and for frames that are no whole units.
        """
        if self.pitch_coder is None:
            raise DataError("this vocoder has no coder of pitch")
        wanted = self.pitch_coder.config
        units, rest = divmod(contour.shape[-2], wanted.frames_per_unit)
        voicing = wanted.frames_per_unit == 1  # `data.pitch` has it, and a coder of less looks at the first alone
        if rest or not wanted.inputs <= contour.shape[-1] <= (2 if voicing else wanted.inputs):
            raise DataError(f"pitch {list(contour.shape)}: this vocoder's coder takes {wanted.inputs} numbers of "
                            f"{wanted.frames_per_unit} frames for every unit")  # fmt: skip
        whole = contour.reshape(-1, *contour.shape[-2:])
        codes = self.pitch_coder.per_unit(self.pitch_coder.encode(whole), units)
        return codes.reshape(*contour.shape[:-2], units)

    @torch.inference_mode()
    def synthesize(self, ids: Tensor, speaker: int | Tensor | None = None, pitch: Tensor | None = None) -> Tensor:
        """wav [T * hop] of ids [T] of any length: `forward` up to rounding, made piece by piece.

        speaker: a number, or an embedding [E]. pitch: [T, P], or bins [T]. DataError for no units, units that do not
        exist, and a speaker or pitch that does not fit.
        """
        self.check(ids, speaker, pitch)
        return torch.cat(list(self.pieces(ids, speaker, pitch)))

    @torch.inference_mode()
    def pieces(
        self, ids: Tensor, speaker: int | Tensor | None = None, pitch: Tensor | None = None, *, size: int = PIECE
    ) -> Iterator[Tensor]:
        """The same in pieces of `size` frames; each is made with as many neighbours as it depends on, and no more."""
        who = None if speaker is None else torch.as_tensor(speaker, device=ids.device).unsqueeze(0)

        def made(seen: slice) -> Tensor:
            return self(ids[None, seen], who, pitch=None if pitch is None else pitch[None, seen])[0]

        yield from self.in_pieces(made, len(ids), size)

    @torch.inference_mode()
    def predict_durations(self, ids: Tensor) -> Tensor:
        """Frames [N] int64 of deduplicated ids [N]. DataError for a vocoder that cannot, and as `check`."""
        if self.durations is None:
            raise DataError("this vocoder predicts no durations (recipes.unit_durations teaches it)")
        self._check_ids(ids)
        return whole_frames(self.durations(self.units(ids[None]))[0])

    def check(self, ids: Tensor, speaker: int | Tensor | None = None, pitch: Tensor | None = None) -> None:
        """DataError for what cannot be spoken."""
        self._check_ids(ids)
        names, inputs = self.config.speakers, self.config.speaker_inputs
        if inputs:
            if not isinstance(speaker, Tensor) or speaker.shape != (inputs,):
                raise DataError(f"this vocoder needs a speaker embedding of {inputs} channels")
        elif isinstance(speaker, Tensor) or (speaker is not None if not names else speaker not in range(len(names))):
            raise DataError(f"speaker {speaker}: this vocoder has {len(names)} speakers to choose from")
        self._check_pitch(pitch, len(ids))

    def _check_pitch(self, pitch: Tensor | None, frames: int) -> None:
        bins, channels = self.config.pitch_bins, self.config.pitch_channels
        if pitch is None:
            if bins or channels:
                raise DataError("this vocoder needs the pitch of every unit")
            return
        wanted = (frames,) if bins else (frames, channels)
        if pitch.shape != wanted or pitch.is_floating_point() != (not bins) or not bool(pitch.isfinite().all()):
            raise DataError(f"pitch {list(pitch.shape)} {pitch.dtype}: this vocoder needs "
                            + (f"bins {list(wanted)} of 0..{bins - 1}" if bins else f"finite numbers {list(wanted)}"
                               if channels else "none"))  # fmt: skip
        if bins and not 0 <= int(pitch.min()) <= int(pitch.max()) < bins:
            raise DataError(f"bins of pitch must lie in 0..{bins - 1}, got {int(pitch.min())}..{int(pitch.max())}")

    def _check_ids(self, ids: Tensor) -> None:
        if ids.ndim != 1 or ids.is_floating_point():
            raise DataError(f"expected whole unit ids [T], got {ids.dtype} {list(ids.shape)}")
        if not len(ids):
            raise DataError("there are no units to speak: was the recording shorter than one frame?")
        least, most, count = int(ids.min()), int(ids.max()), self.config.num_units
        if least < 0 or most >= count:
            raise DataError(f"unit {least if least < 0 else most} is unknown: this vocoder has units 0..{count - 1}")


def held(labels: Tensor, num_frames: int) -> Tensor:
    """Labels [B, num_frames] of labels [B, T], -1 behind the last of an utterance: the last one lasts to the end.

    A recording goes on for up to two hops behind its last whole frame.
    """
    missing = max(0, num_frames - labels.shape[1])
    labels = nn.functional.pad(labels[:, :num_frames], (0, missing), value=-1)
    last = ((labels >= 0).sum(1, keepdim=True) - 1).clamp_min(0)
    return torch.where(labels < 0, labels.gather(1, last), labels)
