"""Rhythm, pitch and speaker of speech, each taken from a reference or kept, by a mel decoder with prosody
(`vocoders.prosody`, arXiv:2211.06535).

rhythm    how long each unit lasts: as predicted for the source's units in the reference's prosody; kept: the source's
pitch     pitch, voicing and energy of each unit: predicted likewise; kept: the source's
speaker   the reference's embedding; kept: that of the source's own recording

As in the paper, pitch is how F0 moves around the mean of its speaker, and how high that lies is the speaker's: where
the speaker alone is converted, the source's contour is spoken as it was, in semitones, around the mean of the target's
voice; where pitch alone is, the source's voice keeps its height and moves like the reference.
differs: the paper predicts what is not converted, too, from the source's own embeddings.

T frames, N deduplicated units, P numbers of a mel frame, E channels of an embedding.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.pitch import Settings, normalized, statistics, track
from speechssl.data.pitch_files import PitchFolder
from speechssl.data.speaker_embedding import HEARD, NAME, SpeakerEmbedder
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, ConfigError, DataError
from speechssl.nn.runs import runs_of
from speechssl.units.mel_voice import MelVoice
from speechssl.units.model import UnitModel
from speechssl.units.units import Units
from speechssl.vocoders.mel_decoder import MelDecoder
from speechssl.vocoders.prosody import Contours, Prosody, contours_of

Part = Literal["rhythm", "pitch", "speaker"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Plan:
    """What is spoken."""

    ids: Tensor  # [N] int64
    durations: Tensor  # [N] int64 frames
    contours: Contours  # [N]
    speaker: int | Tensor | None  # a number, or [E]


@dataclass(frozen=True)
class Reference:
    """Whom to sound like."""

    name: str  # for tables: without spaces
    prosody: Tensor | None = None  # [E]
    speaker: int | Tensor | None = None


@dataclass(frozen=True)
class ProsodyTarget:
    """A voice that converts some parts to a reference; offers what `extract.resynthesis` wants, but of recordings only.

    pitch: F0 of the sources, where it is known: normalised by all recordings of their speakers. Without it F0 is
    tracked, and normalised by its own recording.
    """

    voice: MelVoice
    reference: Reference
    parts: tuple[Part, ...]
    pitch: PitchFolder | None = None

    @property
    def speaker(self) -> str | None:
        """Who is heard, for tables; None: whoever spoke."""
        return self.reference.name if "speaker" in self.parts else None

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.voice.sample_rate

    @property
    def has_pitch(self) -> bool:
        """It finds it itself."""
        return False

    @property
    def takes_units(self) -> bool:
        """Units, and the recordings that they are of."""
        return True

    def hear(self, model: UnitModel, samples: np.ndarray) -> Units | Tensor:
        """Units of samples [S] at the model's rate."""
        return self.voice.hear(model, samples)

    @property
    def identity(self) -> str:
        """What decides the samples, beside the recordings."""
        told = hashlib.sha256()
        for one in (self.reference.prosody, self.reference.speaker):
            told.update(one.numpy().tobytes() if isinstance(one, Tensor) else f"{one} ".encode())
        if self.pitch is not None:
            told.update(self.pitch.values.tobytes())
        return f"{self.voice.identity} {' '.join(self.parts)} {told.hexdigest()}"

    def check(self, unit_model: str) -> None:
        """DataError unless it speaks units of the unit model with this hash."""
        self.voice.check(unit_model)

    def __call__(
        self, units: Units | Tensor | np.ndarray, speaker: str | None = None, pitch: Tensor | None = None
    ) -> Tensor:
        """DataError: units alone have no voice and no pitch to keep or to leave."""
        raise DataError("prosody is converted from recordings, not from units")

    def predict_durations(self, ids: np.ndarray) -> np.ndarray:
        """DataError: in whose prosody is not known here."""
        raise DataError("prosody is converted from recordings, not from units")

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """DataError: it takes none."""
        raise DataError("prosody is converted from recordings, not from units")

    def speak(self, utterance: Utterance, units: Units | Tensor) -> np.ndarray:
        """wav [S] float32 of a recording with its units; AudioError for one without what is to be kept."""
        assert isinstance(units, Units)  # which `hear` gives: prosody is of units
        samples = read_utterance(utterance, sample_rate=self.sample_rate).samples
        return self.say(self.plan(utterance, samples, units)).numpy()

    @torch.no_grad()
    def say(self, plan: Plan) -> Tensor:
        """wav [S] float32."""
        module, prosody = parts_of(self.voice)
        wide = prosody.inputs(plan.contours).repeat_interleave(plan.durations, 0)
        ids = plan.ids.repeat_interleave(plan.durations)
        return self.voice.sound(module.decode(ids, self.voice.sampling, speaker=plan.speaker, more=wide))

    @torch.no_grad()
    def plan(self, utterance: Utterance, samples: np.ndarray, units: Units) -> Plan:
        """Of a recording [S] and its units, merged or not. DataError for none, AudioError where nothing is voiced."""
        module, prosody = parts_of(self.voice)
        frames = torch.from_numpy(self.voice.decoder.card.units.frames_of(units, "mel decoder"))
        module.check(frames, self._checked(), frames.new_zeros(len(frames), prosody.settings.channels))
        mel = patches_of(module, samples, len(frames))
        runs = runs_of(frames[None], torch.ones(1, len(frames), dtype=torch.bool))
        predicted = None
        if self.reference.prosody is not None:
            predicted = prosody.predict(module.content(runs.ids), self.reference.prosody[None])
        durations = predicted.frames() if predicted is not None and "rhythm" in self.parts else runs.durations
        if predicted is not None and "pitch" in self.parts:
            contours = predicted.contour()
        else:
            pitch = torch.from_numpy(self._pitch(utterance, samples))[None]
            contours = contours_of(pitch, module.mels(mel), runs)
        found = Contours(contours.pitch[0], contours.voicing[0], contours.energy[0])
        who = self.reference.speaker if "speaker" in self.parts else self._own(utterance, samples, mel)
        return Plan(runs.ids[0], durations[0], found, who)

    def _checked(self) -> int | Tensor | None:
        """Any speaker that is one, to check units with."""
        config = self.voice.decoder.module.config
        return torch.zeros(config.speaker_inputs) if config.speaker_inputs else 0 if config.speakers else None

    def _pitch(self, utterance: Utterance, samples: np.ndarray) -> np.ndarray:
        """[T, 2] log F0 above the speaker's mean, and voicing."""
        if self.pitch is not None:
            return self.pitch.normalized(utterance.id, scaled=False)
        f0 = track(samples, self.sample_rate, Settings(rate_hz=self.voice.decoder.module.rate_hz))
        if not (f0 > 0).any():
            raise AudioError("unvoiced", "no frame is voiced: there is no pitch to keep (convert pitch, too, or give "
                             "that of all recordings of its speaker)")  # fmt: skip
        return normalized(f0, replace(statistics([f0]), std=1.0))

    def _own(self, utterance: Utterance, samples: np.ndarray, mel: Tensor) -> int | Tensor | None:
        """Who speaks in a recording, as the decoder is told it."""
        module, prosody = parts_of(self.voice)
        if prosody.speaker is not None:
            return prosody.embed_speaker(mel)[0]
        if module.config.speaker_inputs and self.voice.decoder.card.embedder == NAME:
            return torch.from_numpy(SpeakerEmbedder("the source's own speaker")(samples, self.sample_rate))
        return self.voice.speaker(utterance.speaker) if module.config.speakers else None


def parts_of(voice: MelVoice) -> tuple[MelDecoder, Prosody]:
    """The decoder and its prosody. ConfigError where it has none."""
    module = voice.decoder.module
    if module.prosody is None:
        raise ConfigError("this voice has no prosody to convert: train a mel decoder with settings.decoder.prosody and "
                          "data.pitch (recipes/conf/tiny_prosody.toml)")  # fmt: skip
    return module, module.prosody


def checked_parts(parts: Sequence[str]) -> tuple[Part, ...]:
    """Parts in their order, each once. ConfigError for none, and for a name that is none."""
    if strange := sorted(set(parts) - set(PARTS)):
        raise ConfigError(f"{strange[0]!r} cannot be converted: choose from {', '.join(PARTS)}")
    if not parts:
        raise ConfigError(f"nothing is to be converted: choose from {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in parts)


def patches_of(module: MelDecoder, samples: np.ndarray, frames: int) -> Tensor:
    """Normalised mels [1, T, P] of samples [S]."""
    return module.patches(torch.from_numpy(samples)[None], torch.tensor([len(samples)]), frames)


@torch.no_grad()
def heard_prosody(voice: MelVoice, reference: str | Path) -> tuple[Tensor, Tensor | None]:
    """Embeddings [E] of prosody and of the speaker, where there is a speaker encoder: means over the first recordings.

    DataError for no recording, and for one that is shorter than a frame.
    """
    module, prosody = parts_of(voice)
    hop, found = module.config.hop * module.config.frames_per_unit, []
    for utterance in islice(open_corpus(reference).utterances, HEARD):
        samples = read_utterance(utterance, sample_rate=voice.sample_rate).samples
        if len(samples) < hop:
            raise DataError(f"{reference}: {utterance.id!r} is too short to hear anybody in")
        mel = patches_of(module, samples, len(samples) // hop)
        found.append((prosody.embed(mel)[0], None if prosody.speaker is None else prosody.embed_speaker(mel)[0]))
    if not found:
        raise DataError(f"{reference}: no recording to sound like")
    speakers = [speaker for _, speaker in found if speaker is not None]
    return torch.stack([one for one, _ in found]).mean(0), torch.stack(speakers).mean(0) if speakers else None
