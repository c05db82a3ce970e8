"""Voice conversion through units: what one speaker said, in the voice of another.

Units hold what was said, and little of who said it. A unit vocoder or mel decoder of several speakers speaks them in
any of their voices. Who is to speak, the target, is one of

a name        a speaker that the voice was trained on
an embedding  numbers from outside (.npy), or those of a reference recording, where the voice was trained to take them
a prompt      a reference recording with its units, where a flow or diffusion was trained to go on from mels (EZ-VC,
              arXiv:2505.16691): nothing has to know a speaker

Rhythm stays the source's, and pitch is what units and voice make of it; but with a mel decoder that has prosody rhythm,
pitch and speaker are converted each on its own, to a reference (see `prosody_conversion`). E channels of an embedding.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechssl import files
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.pitch_files import PitchFolder
from speechssl.data.samples import samples_at
from speechssl.data.speaker_embedding import NAME, SpeakerEmbedder
from speechssl.data.utterance import Utterance
from speechssl.errors import ConfigError, DataError
from speechssl.npy import read_npy
from speechssl.units import mel_decoder, vocoder
from speechssl.units import mel_vocoder as mel_vocoders
from speechssl.units.mel_voice import MelVoice, Prompt
from speechssl.units.model import UnitModel
from speechssl.units.prosody_conversion import PARTS, ProsodyTarget, Reference, checked_parts, heard_prosody, parts_of
from speechssl.units.units import Units
from speechssl.units.vocoder import Vocoder
from speechssl.vocoders.mel_decoder import Sampling

PROMPT_S = 3.0  # of a reference that is gone on from
_MOST_BYTES = 1 << 20  # of an embedding's file


@dataclass(frozen=True)
class TargetVoice:
    """A voice that always speaks as one target; offers what `extract.resynthesis` wants of a voice."""

    voice: Vocoder | MelVoice  # with its prompt, if that is what tells the target
    name: str  # of the target, for tables: without spaces
    embedding: Tensor | None = None  # [E]
    known: str | None = None  # the name of one of its speakers

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.voice.sample_rate

    @property
    def identity(self) -> str:
        """What decides the samples."""
        told = "" if self.embedding is None else hashlib.sha256(self.embedding.numpy().tobytes()).hexdigest()
        return f"{self.voice.identity} as {self.known} {told}"

    @property
    def has_pitch(self) -> bool:
        """Whether it is told the pitch of every unit."""
        return self.voice.has_pitch

    @property
    def takes_units(self) -> bool:
        """Whether units are what it speaks, not features of speech."""
        return self.voice.takes_units

    def hear(self, model: UnitModel, samples: np.ndarray) -> Units | Tensor:
        """What it is told of samples [S] at the model's rate."""
        return self.voice.hear(model, samples)

    def __call__(
        self, units: Units | Tensor | np.ndarray, speaker: str | None = None, pitch: Tensor | None = None
    ) -> Tensor:
        """wav [S] float32 of units, by the target, whatever `speaker` is. DataError as the voice has it."""
        return self.voice(units, self.known if self.embedding is None else self.embedding, pitch)

    def check(self, unit_model: str) -> None:
        """DataError unless it speaks units of the unit model with this hash."""
        self.voice.check(unit_model)

    def predict_durations(self, ids: np.ndarray) -> np.ndarray:
        """Frames [N] of deduplicated ids [N]. DataError where it cannot."""
        return self.voice.predict_durations(ids)

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """What it takes of normalised log F0 and voicing [..., 2]."""
        return self.voice.pitch_input(pitch)


def speak_as(voice: Vocoder | MelVoice, to: str | Path, units: str | Path | UnitModel = "default") -> TargetVoice:
    """The voice as `to`: a name it knows, an .npy file of an embedding, or a recording, or a corpus of one speaker.

    units: the model whose units a prompt is given in; a folder is not read before that. ConfigError where the voice
    can be nobody else, or a package is missing; DataError for a target that does not fit.
    """
    config = voice.module.config if isinstance(voice, Vocoder) else voice.decoder.module.config
    name = "_".join(Path(to).stem.split()) or "target"
    if str(to) in config.speakers:
        return TargetVoice(voice, "_".join(str(to).split()), known=str(to))
    if str(to).endswith(".npy"):
        return TargetVoice(voice, name, fitting(read_embedding(Path(to)), config.speaker_inputs, str(to)))
    known = known_names(config.speakers)
    if config.speaker_inputs:
        embedder = voice.decoder.card.embedder if isinstance(voice, MelVoice) else ""
        return TargetVoice(voice, name, embedding_of(to, config.speaker_inputs, embedder, known))
    if isinstance(voice, MelVoice) and voice.decoder.module.config.prompt and not config.speakers:
        model = units if isinstance(units, UnitModel) else UnitModel.load(units)
        return TargetVoice(replace(voice, prompt=prompt_of(voice, to, model)), name)
    if config.speakers:
        raise DataError(f"{to}: not a speaker of this voice, and it takes neither embeddings nor prompts ({known})")
    raise ConfigError(f"{to}: this voice has one speaker and can be nobody else: train one with data.speakers=true, "
                      "or a flow or diffusion with settings.prompt_share")  # fmt: skip


def has_prosody(voice: Vocoder | MelVoice) -> bool:
    """Whether rhythm and pitch can be converted."""
    return isinstance(voice, MelVoice) and voice.decoder.module.prosody is not None


def convert_as(
    voice: Vocoder | MelVoice, to: str | Path, parts: Sequence[str] = PARTS, pitch: PitchFolder | None = None
) -> ProsodyTarget:
    """The voice with these parts as in `to`: a recording, or a corpus of one speaker; for the speaker as in `speak_as`.

    ConfigError for a voice without prosody and an unknown part; DataError for a target that does not fit.
    """
    chosen = checked_parts(parts)
    if not isinstance(voice, MelVoice):
        raise ConfigError("a unit vocoder has no prosody to convert: give a mel decoder that has")
    config, heard = voice.decoder.module.config, parts_of(voice)[1].speaker is not None
    prosody, speaker = None, None
    if heard or set(chosen) - {"speaker"}:
        if str(to).endswith(".npy") or str(to) in config.speakers:
            why = ", and this voice hears its speakers" if heard else ""
            raise ConfigError(f"{to}: a name or an embedding has no rhythm and no pitch{why}: give a recording")
        prosody, speaker = heard_prosody(voice, to)
    name = "_".join(Path(to).stem.split()) or "target"
    if "speaker" in chosen and not heard:
        target = speak_as(voice, to)
        told = voice.speaker(target.known) if target.embedding is None else target.embedding
        return ProsodyTarget(voice, Reference(target.name, prosody, told), chosen, pitch)
    return ProsodyTarget(voice, Reference(name, prosody, speaker), chosen, pitch)


def read_embedding(path: Path) -> Tensor:
    """An embedding [E] float32 of an .npy file. DataError where it is none, OSError where there is no file."""
    values = read_npy(files.read_bytes(path, most=_MOST_BYTES), str(path))
    if values.ndim != 1 or not len(values) or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise DataError(f"{path}: an embedding is a row of finite numbers, not {values.dtype} {list(values.shape)}")
    return torch.from_numpy(values.astype(np.float32))


def fitting(embedding: Tensor, channels: int, where: str) -> Tensor:
    """Itself. ConfigError where the voice takes none, DataError where it takes others."""
    if not channels:
        raise ConfigError(f"{where}: this voice takes no speaker embeddings")
    if len(embedding) != channels:
        raise DataError(f"{where}: this voice takes embeddings of {channels} numbers, not {len(embedding)}")
    return embedding


def embedding_of(to: str | Path, channels: int, embedder: str, known: str) -> Tensor:
    """The embedding [E] of an .npy file, or of a reference's recordings, for a model that takes `channels` numbers.

    embedder: of what package they are; "": nobody knows, and a recording is a ConfigError. known: who is known by name.
    """
    if str(to).endswith(".npy"):
        return fitting(read_embedding(Path(to)), channels, str(to))
    if embedder != NAME:
        raise ConfigError(f"{to}: nobody knows whose speaker embeddings this voice takes: give the {channels} numbers "
                          f"themselves, an .npy file ({known})")  # fmt: skip
    return fitting(heard(to), channels, str(to))


def known_names(names: Sequence[str]) -> str:
    """Who is known by name, for messages."""
    return f"it knows {', '.join(names[:20])}" if names else "it knows nobody by name"


def heard(reference: str | Path) -> Tensor:
    """The embedding [E] of a reference's first recordings. ConfigError without the package; DataError for none."""
    embedder = SpeakerEmbedder(f"a voice like {reference}")
    return torch.from_numpy(embedder.voice(open_corpus(reference).utterances))


def prompt_of(voice: MelVoice, reference: str | Path, model: UnitModel) -> Prompt:
    """The first seconds of a reference. DataError for another unit model, and a recording without a frame."""
    voice.check(model.hash)
    utterances = open_corpus(reference).utterances
    if not len(utterances):
        raise DataError(f"{reference}: no recording to go on from")
    module = voice.decoder.module
    wav = read_utterance(utterances[0], sample_rate=model.sample_rate).samples
    heard_of = voice.hear(model, wav)
    content = torch.from_numpy(heard_of.frames()) if isinstance(heard_of, Units) else heard_of
    content = content[: int(PROMPT_S * module.rate_hz)]
    if not len(content):
        raise DataError(f"{reference}: too short to go on from")
    patches = module.patches(torch.from_numpy(wav)[None], torch.tensor([len(wav)]), len(content))
    return Prompt(content, module.mels(patches)[0])


@dataclass(frozen=True)
class VoiceConverter:
    """A voice with the model of its units: `converter("source.wav", to="anna")` is a waveform."""

    voice: Vocoder | MelVoice
    units: UnitModel

    def __call__(self, source: str | Path, to: str | Path, convert: Sequence[str] | None = None) -> Tensor:
        """wav [S] float32 at `voice.sample_rate` Hz; see `speak_as`. AudioError for a recording of no use.

        convert: of a voice with prosody, which of rhythm, pitch and speaker (None: all); see `convert_as`.
        """
        if convert is not None or has_prosody(self.voice):
            target = convert_as(self.voice, to, PARTS if convert is None else convert)
            return torch.from_numpy(target.speak(Utterance("source", str(source)), self.units(source)))
        samples = samples_at(source, None, self.units.sample_rate)
        return speak_as(self.voice, to, self.units)(self.voice.hear(self.units, samples))


def load(
    folder: str | Path, *, units: str | Path = "default", sampling: Sampling | None = None,
    mel_vocoder: str | Path | None = None,
) -> VoiceConverter:  # fmt: skip
    """Of a unit vocoder's or mel decoder's folder. DataError where it does not speak the unit model's units.

    sampling: of a flow or diffusion; mel_vocoder: the folder of what speaks a decoder's mels in place of Griffin-Lim.
    ConfigError for any other voice.
    """
    voice: Vocoder | MelVoice
    if mel_decoder.is_one(folder):
        behind = None if mel_vocoder is None else mel_vocoders.load(mel_vocoder).accelerate()
        voice = MelVoice(mel_decoder.load(folder), sampling or Sampling(), vocoder=behind)
    elif sampling is not None or mel_vocoder is not None:
        raise ConfigError(f"{'mel_vocoder' if sampling is None else 'sampling'} has no effect on a unit vocoder")
    else:
        voice = vocoder.load(folder).accelerate()
    model = UnitModel.load(units)
    voice.check(model.hash)
    return VoiceConverter(voice, model)
