"""One-shot prosody and speaker conversion on units (arXiv:2211.06535): what a mel decoder needs beside units for that.

prosody encoder     the mel of an utterance to an embedding: frames through two convolutions, and their mean
speaker encoder     the same, another one, for who speaks; not where speakers have embeddings from outside, or names
prosody predictor   deduplicated units and a prosody embedding to the duration, pitch, voicing and energy of each
inputs              pitch, voicing and energy as the synthesizer, which is any `MelDecoder`, takes them, for each frame

Pitch is semitones above the speaker's mean log F0, energy natural log power above the utterance's mean, both averaged
over the frames of each run of one unit (pitch over voiced ones). So how high a voice lies is the speaker's, which the
speaker embedding has to tell, and how it moves is prosody, as in the paper. In training the synthesizer is given the
recording's own, and the embeddings are of that very recording; nothing tells who or what is alike.

Squared errors leave durations too short and contours too flat; `vocoders.calibration` mends that after training.

differs: the paper has one encoder for rhythm and one for pitch and energy, on frames of a frozen wav2vec 2.0; here one
mel is heard for both, by convolutions. It gives bins of F0 (Hz) their probabilities; here the predictor is FastSpeech
2's, by squared errors, and what the synthesizer sees is a bump over bins of semitones, as there. The paper's speaker
encoder hears speech whose pitch was shifted, and it has a discriminator; these have not been added.

B utterances, T frames, N runs of units, P numbers of a mel frame, C channels, E of embeddings.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError, DataError
from speechssl.nn.lengths import zero_padding
from speechssl.nn.runs import Runs, averages
from speechssl.vocoders.durations import Settings as PredictorSettings
from speechssl.vocoders.durations import VariancePredictor, whole_frames

SEMITONES = 12 / math.log(2)  # of a natural logarithm of F0
SCALES = (4.0, 3.0)  # pitch in semitones and log energy, about as far as they vary: what the predictor says as 1
_MOST = 1 << 16


@dataclass(frozen=True)
class Settings:
    """Of encoders, predictor and inputs."""

    embedding: int = 64  # E
    speaker: bool = True  # a speaker encoder; else who speaks is told by `speaker_inputs` or names, as without prosody
    encoder: PredictorSettings = field(default_factory=lambda: PredictorSettings(hidden=128, kernel=5, dropout=0.1))
    predictor: PredictorSettings = field(default_factory=lambda: PredictorSettings(hidden=128, kernel=3, dropout=0.3))
    bins: int = 49  # of pitch
    reach: float = 18.0  # semitones from the middle to the last bin; what is beyond counts as there
    width: float = 1.0  # semitones, of the bump

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not 1 <= self.embedding <= _MOST or not 2 <= self.bins <= _MOST or not 0 < self.width <= self.reach <= 120:
            raise ConfigError(f"prosody needs embedding 1..{_MOST}, bins 2..{_MOST}, 0 < width <= reach <= 120, got "
                              f"{self}")  # fmt: skip

    @property
    def channels(self) -> int:
        """Of `Prosody.inputs`: bins of pitch, voicing, energy."""
        return self.bins + 2


@dataclass(frozen=True)
class Contours:
    """Of each unit [..., N]."""

    pitch: Tensor  # semitones above the speaker's mean; 0 where unvoiced
    voicing: Tensor  # 0..1
    energy: Tensor  # natural log power above the utterance's mean


@dataclass(frozen=True)
class Predicted:
    """What the predictor says of each unit."""

    durations: Tensor  # [B, N] log(1 + frames)
    voicing: Tensor  # [B, N] logit
    contours: Tensor  # [B, N, 2] pitch and energy over `SCALES`

    def frames(self) -> Tensor:
        """[B, N] int64, at least one each."""
        return whole_frames(self.durations)

    def contour(self) -> Contours:
        """As they are to be spoken: voiced or not, nothing between."""
        voiced = (self.voicing > 0).float()
        pitch, energy = (self.contours.float() * self.contours.new_tensor(SCALES).float()).unbind(-1)
        return Contours(pitch * voiced, voiced, energy)


class Prosody(nn.Module):
    """Encoders and predictor of a mel decoder with `dim` channels and frames of `patch` numbers."""

    def __init__(self, settings: Settings, *, dim: int, patch: int) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = VariancePredictor(patch, settings.encoder, settings.embedding)
        self.speaker = VariancePredictor(patch, settings.encoder, settings.embedding) if settings.speaker else None
        self.told = nn.Linear(settings.embedding, dim)
        self.durations = VariancePredictor(dim, settings.predictor)
        self.voicing = VariancePredictor(dim, settings.predictor)
        self.contours = VariancePredictor(dim, settings.predictor, len(SCALES))

    def embed(self, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        """The prosody of utterances, [B, E] of normalised mels [B, T, P]; valid [B, T] are real frames (None: all)."""
        return _embedded(self.encoder, mel, valid)

    def embed_speaker(self, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        """The speakers of utterances, likewise. ConfigError without a speaker encoder."""
        if self.speaker is None:
            raise ConfigError("this mel decoder hears no speaker: it is told who speaks")
        return _embedded(self.speaker, mel, valid)

    def predict(self, units: Tensor, prosody: Tensor, valid: Tensor | None = None) -> Predicted:
        """Of embeddings [B, N, C] of deduplicated units, in the prosody [B, E]; valid [B, N] (None: all)."""
        x = units + self.told(prosody).unsqueeze(1)
        return Predicted(self.durations(x, valid), self.voicing(x, valid), self.contours(x, valid))

    def inputs(self, contours: Contours) -> Tensor:
        """[..., N, channels]: exp(-(bin - pitch)^2 / 2 width^2) of every bin where voiced at all, voicing, energy."""
        reach, wide = self.settings.reach, contours.pitch.float().unsqueeze(-1)
        bins = torch.linspace(-reach, reach, self.settings.bins, device=wide.device)
        bumps = torch.exp(-(wide.clamp(-reach, reach) - bins).square() / (2 * self.settings.width**2))
        voicing = contours.voicing.float().unsqueeze(-1)
        return torch.cat([bumps * (voicing > 0), voicing, contours.energy.float().unsqueeze(-1) / SCALES[1]], -1)


def _embedded(encoder: VariancePredictor, mel: Tensor, valid: Tensor | None) -> Tensor:
    if not mel.shape[1]:
        return mel.new_zeros(len(mel), encoder.last.out_features)
    return _mean(encoder(mel, valid), valid)


def _mean(frames: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return frames.mean(1)
    return zero_padding(frames, valid).sum(1) / valid.sum(1, keepdim=True).clamp_min(1)


def contours_of(pitch: Tensor, mel: Tensor, runs: Runs) -> Contours:
    """Of recordings: pitch [B, T', 2], log F0 above the speaker's mean and voicing; log mels of power [B, R * T, M].

    Frames that `pitch` lacks are unvoiced. DataError where it is none.
    """
    frames = runs.frames.shape[1]
    if pitch.ndim != 3 or pitch.shape[2] != 2:
        raise DataError(f"expected log F0 and voicing [utterances, frames, 2], got {list(pitch.shape)}")
    pitch = F.pad(pitch[:, :frames], (0, 0, 0, max(0, frames - pitch.shape[1])))
    loudness = _energy(mel, runs.frames).unsqueeze(2)
    voiced = (pitch[..., 1] > 0.5).to(pitch)
    means = averages(torch.cat([voiced.unsqueeze(2), loudness], 2), runs)
    semitones = SEMITONES * averages(pitch[..., :1], runs, voiced)
    return Contours(semitones[..., 0], means[..., 0], means[..., 1])


def _energy(mel: Tensor, valid: Tensor) -> Tensor:
    """[B, T]: log of the mean power of log mels [B, R * T, M] in each of T frames, less its mean over real ones."""
    if not valid.numel():
        return mel.new_zeros(valid.shape)
    ratio = mel.shape[1] // valid.shape[1]
    power = mel.float().exp().mean(2).unflatten(1, (valid.shape[1], ratio)).mean(2)
    loudness = zero_padding(power.clamp_min(1e-10).log(), valid)
    return zero_padding(loudness - _mean(loudness.unsqueeze(2), valid), valid)


def prosody_losses(predicted: Predicted, contours: Contours, runs: Runs) -> dict[str, Tensor]:
    """Sums over real units: squared errors of log(1 + frames), pitch (of the voiced share) and energy, each in about
    its own scale; the cross entropy of voicing.
    """
    pitch, energy = (predicted.contours.float() - torch.stack([contours.pitch, contours.energy], 2)
                     / predicted.contours.new_tensor(SCALES).float()).square().unbind(2)  # fmt: skip
    voicing = F.binary_cross_entropy_with_logits(predicted.voicing.float(), contours.voicing.float(), reduction="none")
    durations = (predicted.durations.float() - runs.durations.float().log1p()).square()
    errors = {"duration": durations, "pitch": pitch * contours.voicing, "voicing": voicing, "energy": energy}
    return {name: error[runs.valid].sum() for name, error in errors.items()}
