"""Units, or frames of any features, to log-mel spectrograms; one network for three ways of doing it.

regression   the network says the mel (FastSpeech-class, not autoregressive): the mean of what could be
flow         it says the velocity of a flow from noise to mel (arXiv:2505.16691, 2210.02747; see nn.flow_matching)
diffusion    it says the noise in a noisy mel, or the velocity (AV2Wav, arXiv:2309.08030; see nn.diffusion)

Each frame of the network is one unit and `frames_per_unit` mel frames side by side: 50 units a second make 100 mels.
Who speaks is one of several names, or the numbers of a speaker embedding from outside (`speaker_inputs`); then the
names are of embeddings that the decoder keeps. A second stream of features (the lips, in AV2Wav) may be there or not;
with `prosody` it is pitch and energy of the units, and the decoder can hear and predict these (`vocoders.prosody`). A
flow or diffusion may be given the mel of the first frames (the prompt, in a voice to go on in), and may be guided away
from what it would say without content.
differs: AV2Wav makes waveforms; here it is mels, a tenth of the work, behind which any vocoder of mels may stand.

Mel frame t looks at 1024 samples around the middle of its hop. B utterances, T frames, M mel bins, P = numbers of a
frame (frames_per_unit * M), C channels, E channels of an outside speaker embedding, N named speakers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import generator
from speechssl.errors import ConfigError, DataError
from speechssl.nn import diffusion, flow_matching
from speechssl.nn.lengths import zero_padding
from speechssl.nn.mel_definition import MelDefinition
from speechssl.nn.positional import StackedConvPosition
from speechssl.nn.timed_transformer import TimedTransformer
from speechssl.vocoders.prosody import Prosody
from speechssl.vocoders.prosody import Settings as ProsodySettings

Kind = Literal["regression", "flow", "diffusion"]
_MOST = 1 << 20  # of any size


@dataclass(frozen=True)
class Config:
    """What a mel decoder is made of; the defaults are for hours of speech and minutes of a CPU."""

    kind: Kind = "regression"
    num_units: int = 0  # V; or
    inputs: int = 0  # channels of continuous features: of an encoder's layer, or soft units
    more_inputs: int = 0  # channels of a second stream of features
    speakers: tuple[str, ...] = ()  # names, each with an embedding; none: one voice
    frames_per_unit: int = 2
    num_mels: int = 80
    hop: int = 160  # samples of a mel frame
    window: int = 1024  # samples
    sample_rate: int = 16000  # Hz
    dim: int = 192
    ffn_dim: int = 768
    num_layers: int = 4
    num_heads: int = 4
    kernel: int = 15  # of the convolutions that tell the order of frames
    depth: int = 3  # of them
    prompt: bool = False  # flow, diffusion: can be given the mel of the first frames
    guided: bool = False  # flow, diffusion: knows what it says without content
    says: Literal["noise", "velocity"] = "noise"  # diffusion: of what it is shown (see `nn.diffusion`)
    speaker_inputs: int = 0  # E; 0: names have embeddings of their own, which are learned
    prosody: ProsodySettings | None = None  # units with pitch and energy; more_inputs and speaker_inputs follow from it

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        sizes = (self.frames_per_unit, self.num_mels, self.hop, self.window, self.dim, self.ffn_dim, self.num_layers,
                 self.num_heads, self.kernel, self.depth)  # fmt: skip
        given = (self.num_units, self.inputs, self.more_inputs, self.speaker_inputs)
        if min(sizes) < 1 or max(*sizes, *given) > _MOST:
            raise ConfigError(f"a mel decoder needs sizes of 1..{_MOST}, got {self}")
        if (self.num_units > 0) == (self.inputs > 0) or min(given) < 0:
            raise ConfigError(f"a mel decoder needs num_units or inputs, one of them, got {self.num_units} and "
                              f"{self.inputs}")  # fmt: skip
        if self.dim % self.num_heads or self.window < self.hop or (self.window - self.hop) % 2:
            raise ConfigError(f"dim={self.dim} must be a multiple of num_heads={self.num_heads}, and window="
                              f"{self.window} at least hop={self.hop} and even with it")  # fmt: skip
        if self.kind == "regression" and (self.prompt or self.guided):
            raise ConfigError("prompt and guided have no effect on a regression")
        if not 4000 <= self.sample_rate <= 192_000 or len(set(self.speakers)) < len(self.speakers):
            raise ConfigError(f"sample_rate must be 4000..192000 Hz and speakers all different, got {self.sample_rate}")
        if self.prosody is not None:
            self._check_prosody(self.prosody)

    def _check_prosody(self, prosody: ProsodySettings) -> None:
        if not self.num_units or self.more_inputs not in (0, prosody.channels):
            raise ConfigError("prosody is of units (num_units), and takes the place of a second stream (more_inputs)")
        if prosody.speaker and (self.speakers or self.speaker_inputs not in (0, prosody.embedding)):
            raise ConfigError("speakers are heard by the speaker encoder and told, too: set prosody.speaker = false, "
                              "or leave speakers and embeddings out")  # fmt: skip

    def whole(self) -> "Config":
        """With what follows from `prosody`."""
        if self.prosody is None:
            return self
        speaker = self.prosody.embedding if self.prosody.speaker else self.speaker_inputs
        return replace(self, more_inputs=self.prosody.channels, speaker_inputs=speaker)

    @property
    def patch(self) -> int:
        """P."""
        return self.frames_per_unit * self.num_mels

    @property
    def mel_definition(self) -> MelDefinition:
        """What its mels are."""
        return MelDefinition(sample_rate=self.sample_rate, hop=self.hop, window=self.window, num_mels=self.num_mels)


@dataclass(frozen=True)
class Sampling:
    """How a flow or diffusion is decoded."""

    steps: int = 16
    method: flow_matching.Method = "midpoint"  # of a flow
    eta: float = 0.0  # of a diffusion: 0 draws nothing on the way, 1 is DDPM
    guidance: float = 0.0  # (1 + g) with content - g without
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what nobody samples by."""
        if self.steps < 1 or not 0 <= self.eta <= 1 or not 0 <= self.guidance <= 100:
            raise ConfigError(f"sampling needs steps >= 1, eta in 0..1, guidance in 0..100, got {self}")


class MelDecoder(nn.Module):
    """`mean` and `scale` [M] are of the training data's mels, which the network sees with unit variance."""

    mean: Tensor
    scale: Tensor
    voices: Tensor  # [N, E] of the named speakers, where embeddings come from outside

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.says != "noise" and config.kind != "diffusion":  # its kind may be filled in after the rest
            raise ConfigError(f"says={config.says} has no effect on a {config.kind}")
        self.config = config = config.whole()
        dim, patch = config.dim, config.patch
        units = config.num_units
        self.content: nn.Module = nn.Embedding(units, dim) if units else nn.Linear(config.inputs, dim)
        self.more = nn.Linear(config.more_inputs, dim) if config.more_inputs else None
        self.speakers: nn.Embedding | nn.Linear | None = None
        if config.speaker_inputs:
            self.speakers = nn.Linear(config.speaker_inputs, dim)
            self.register_buffer("voices", torch.zeros(len(config.speakers), config.speaker_inputs))
        elif config.speakers:
            self.speakers = nn.Embedding(len(config.speakers), dim)
        self.none = nn.Parameter(torch.randn(dim) * 0.02) if config.guided else None
        timed = config.kind != "regression"
        self.noisy = nn.Linear(patch, dim) if timed else None
        self.prompt = nn.Linear(patch, dim) if config.prompt else None
        self.positions = StackedConvPosition(dim, kernel=config.kernel, groups=math.gcd(16, dim), depth=config.depth)
        self.transformer = TimedTransformer(dim=dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers,
                                            num_heads=config.num_heads, timed=timed)  # fmt: skip
        self.last = nn.Linear(dim, patch)
        self.prosody = None if config.prosody is None else Prosody(config.prosody, dim=dim, patch=patch)
        self.register_buffer("mean", torch.zeros(config.num_mels))
        self.register_buffer("scale", torch.ones(config.num_mels))

    @property
    def rate_hz(self) -> float:
        """Units per second."""
        return self.config.sample_rate / (self.config.hop * self.config.frames_per_unit)

    def condition(self, content: Tensor, speakers: Tensor | None = None, more: Tensor | None = None) -> Tensor:
        """What is said, [B, T, C]: of ids [B, T] or features [B, T, D], a second stream [B, T, more_inputs].

        speakers: numbers [B] int64; or, with speaker_inputs, embeddings [B, E].
        The second stream may be absent, which is as if it was zero.
        """
        if (speakers is None) != (self.speakers is None):
            raise DataError("a mel decoder of several speakers must be told which one speaks, and one of one voice not")
        if more is not None and self.more is None:
            raise DataError("this mel decoder takes no second stream of features")
        x = self.content(content if self.config.num_units else content.to(self.last.weight.dtype))
        if self.more is not None:
            x = x + (self.more(more) if more is not None else self.more.bias)
        if self.speakers is None or speakers is None:
            return x
        if isinstance(self.speakers, nn.Linear) and not speakers.is_floating_point():
            speakers = self.voices[speakers]
        return x + self.speakers(speakers).unsqueeze(1)

    def forward(
        self, condition: Tensor, valid: Tensor | None = None, *, noisy: Tensor | None = None,
        time: Tensor | None = None, prompt: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """What the network says, [B, T, P]; see `hidden`."""
        return self.last(self.hidden(condition, valid, noisy=noisy, time=time, prompt=prompt))

    def hidden(
        self, condition: Tensor, valid: Tensor | None = None, *, noisy: Tensor | None = None,
        time: Tensor | None = None, prompt: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The last layer [B, T, C] of a condition [B, T, C]; valid [B, T] are real frames (None: all).

        noisy [B, T, P] at time (or level) [B]; prompt [B, T, P]: normalised mels of the first frames, 0 behind them.
        """
        x = condition
        if self.noisy is not None:
            x = x + self.noisy(noisy)
        if self.prompt is not None and prompt is not None:
            x = x + self.prompt(prompt)
        x = zero_padding(x, valid)
        return self.transformer(x + self.positions(x, valid), valid, time)

    def without(self, condition: Tensor) -> Tensor:
        """The condition [B, T, C] that says nothing."""
        if self.none is None:
            raise ConfigError("this mel decoder was not trained without content (guided): guidance must be 0")
        return self.none.expand_as(condition)

    def patches(self, wav: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
        """Normalised log mels [B, num_frames, P] of wav [B, S] with lengths [B]."""
        ratio = self.config.frames_per_unit
        with torch.autocast(wav.device.type, enabled=False):
            mel = self.config.mel_definition.log_mels(wav, lengths, num_frames * ratio)
            return self.normalized(mel).unflatten(1, (num_frames, ratio)).flatten(2)

    def normalized(self, mel: Tensor) -> Tensor:
        """Mels [..., M] to zero mean and unit variance."""
        return (mel - self.mean) / self.scale

    def mels(self, patches: Tensor) -> Tensor:
        """Log mels [B, frames_per_unit * T, M] of patches [B, T, P]: the way back from `patches`."""
        mel = patches.float().unflatten(2, (self.config.frames_per_unit, -1)).flatten(1, 2)
        return mel * self.scale + self.mean

    @torch.no_grad()
    def decode(
        self, content: Tensor, sampling: Sampling | None = None, *, speaker: int | Tensor | None = None,
        more: Tensor | None = None, prompt: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Log mels [frames_per_unit * T, M] of ids [T], or of features [T, D]; the same for the same seed.

        speaker: a number, or an embedding [E] where it takes them. prompt: log mels [frames_per_unit * K, M] of the
        first K of these units, which are given back as they are. DataError for no content, and for what is unknown or
        does not fit.
        """
        sampling = sampling or Sampling()
        self.check(content, speaker, more)
        who = None if speaker is None else torch.as_tensor(speaker, device=content.device).unsqueeze(0)
        condition = self.condition(content[None], who, None if more is None else more[None])
        if self.config.kind == "regression":
            if prompt is not None or sampling.guidance:
                raise ConfigError("a regression takes no prompt and no guidance")
            return self.mels(self(condition))[0]
        given = self._given(prompt, len(content))
        draws = generator(sampling.seed)
        shape = (1, len(content), self.config.patch)

        def draw() -> Tensor:
            return torch.randn(shape, generator=draws).to(condition)

        say = self._guided(condition, given, sampling.guidance)
        if self.config.kind == "flow":
            found = flow_matching.solve(say, draw(), steps=sampling.steps, method=sampling.method)
        else:
            path = diffusion.way_back(diffusion.levels(), sampling.steps)
            found = diffusion.denoise(self._noise(say), draw(), path, eta=sampling.eta, draw=draw)
        mel = self.mels(found)[0]
        return mel if prompt is None else torch.cat([prompt.to(mel), mel[len(prompt) :]])

    def _guided(self, condition: Tensor, prompt: Tensor | None, guidance: float) -> Callable[[Tensor, Tensor], Tensor]:
        nothing = self.without(condition) if guidance else None

        def say(x: Tensor, time: Tensor) -> Tensor:
            found = self(condition, noisy=x, time=time, prompt=prompt)
            if nothing is None:
                return found
            return (1 + guidance) * found - guidance * self(nothing, noisy=x, time=time)

        return say

    def _noise(self, say: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        if self.config.says == "noise":
            return say
        return lambda x, level: diffusion.noise_of(say(x, level), x, level)

    def _given(self, prompt: Tensor | None, frames: int) -> Tensor | None:
        if prompt is None:
            return None
        config = self.config
        if not config.prompt:
            raise DataError("this mel decoder takes no prompt")
        count, rest = divmod(len(prompt), config.frames_per_unit)
        if prompt.ndim != 2 or prompt.shape[1] != config.num_mels or rest or not 0 < count < frames:
            raise DataError(f"a prompt of mels {list(prompt.shape)} must be {config.num_mels} bins of whole units, and "
                            f"fewer than the {frames} units to speak")  # fmt: skip
        patches = self.normalized(prompt).unflatten(0, (count, config.frames_per_unit)).flatten(1)
        return F.pad(patches, (0, 0, 0, frames - count))[None]

    def check(self, content: Tensor, speaker: int | Tensor | None = None, more: Tensor | None = None) -> None:
        """DataError for what cannot be decoded."""
        config = self.config
        wanted = (len(content),) if config.num_units else (len(content), config.inputs)
        if content.shape != wanted or content.is_floating_point() != (not config.num_units):
            raise DataError(f"expected {'whole unit ids [T]' if config.num_units else f'features [T, {config.inputs}]'}"
                            f", got {content.dtype} {list(content.shape)}")  # fmt: skip
        if not len(content):
            raise DataError("there are no units to speak: was the recording shorter than one frame?")
        if config.num_units and not 0 <= int(content.min()) <= int(content.max()) < config.num_units:
            wrong = int(content.min()) if int(content.min()) < 0 else int(content.max())
            raise DataError(f"unit {wrong} is unknown: this mel decoder has units 0..{config.num_units - 1}")
        if not config.num_units and not bool(content.isfinite().all()):
            raise DataError("features must be finite")
        if more is not None and more.shape != (len(content), config.more_inputs):
            raise DataError(f"a second stream {list(more.shape)} must be [{len(content)}, {config.more_inputs}]")
        self._check_speaker(speaker)

    def _check_speaker(self, speaker: int | Tensor | None) -> None:
        inputs, names = self.config.speaker_inputs, self.config.speakers
        if isinstance(speaker, Tensor):
            if not inputs or speaker.shape != (inputs,) or not bool(speaker.isfinite().all()):
                wanted = f"{inputs} finite numbers" if inputs else "none"
                raise DataError(f"a speaker embedding {list(speaker.shape)}: this mel decoder takes {wanted}")
        elif speaker not in range(len(names)) if names or inputs else speaker is not None:
            raise DataError(f"speaker {speaker}: this mel decoder has {len(names)} speakers to choose from"
                            + (f", and takes embeddings of {inputs} channels" if inputs else ""))  # fmt: skip
