"""What a mel decoder learns from: a batch's mels, and its units or the features of a frozen encoder.

B utterances, T frames, P numbers of a frame, C channels, D dimensions of soft units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch, generator
from speechssl.data.noise import Noise, noisy_batch
from speechssl.errors import ConfigError, DataError
from speechssl.nn.lengths import valid_mask, zero_padding
from speechssl.nn.prediction import frame_labels
from speechssl.nn.runs import Runs, over_frames, runs_of
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.vocoders.mel_decoder import Config, Kind, MelDecoder
from speechssl.vocoders.prosody import Contours, Predicted, Prosody, contours_of, prosody_losses


@dataclass(frozen=True)
class Settings:
    """Which network, and on what."""

    num_labels: int  # V, taken from the labels; 0: features of the encoder
    decoder: Config = field(default_factory=lambda: Config(num_units=1))  # its kind and inputs follow from the rest
    layer: int = 0  # of the encoder, for features
    soft_dim: int = 0  # D, where these become soft units; taken from the unit model
    noise: Noise | None = None  # under the speech whose features are taken; the mels stay those of the clean speech


@dataclass(frozen=True)
class DrawnSettings(Settings):
    """What flow and diffusion have beside that."""

    prompt_share: float = 0.0  # of utterances that come with the mel of their first frames
    longest_prompt: float = 0.5  # of an utterance's frames
    silent_share: float = 0.0  # of utterances that come without content, so that they can be guided away from that

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        shares = (self.prompt_share, self.longest_prompt, self.silent_share)
        if min(shares) < 0 or max(shares) >= 1:
            raise ConfigError(f"prompt_share, longest_prompt and silent_share must be in 0..1, got {shares}")


class MelLearner(nn.Module):
    """What the objectives of mel decoders share. soft: of a layer's frames [..., C] the soft units [..., D]."""

    kind: Kind

    def __init__(
        self, encoder: SpeechEncoder, config: Settings, soft: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        if (soft is not None) != (config.soft_dim > 0) or (config.num_labels and soft is not None):
            raise ConfigError("a mel decoder learns from units, or from features, which soft units may be made of")
        if config.num_labels and config.noise is not None:
            raise ConfigError("settings.noise is under the speech that features are of, and units are no features:"
                              " leave data.labels out")  # fmt: skip
        self.encoder, self.config, self.soft = encoder.requires_grad_(False), config, soft
        self.decoder = make_decoder(config, self.kind, config.soft_dim or encoder.dim)

    def after_step(self, step: int) -> None:
        """Nothing to do."""


def make_decoder(settings: Settings, kind: Kind, channels: int) -> MelDecoder:
    """A fresh decoder of these units, or of features of so many channels."""
    own = replace(settings.decoder, kind=kind, num_units=settings.num_labels,
                  inputs=0 if settings.num_labels else channels)  # fmt: skip
    if isinstance(settings, DrawnSettings):
        own = replace(own, prompt=settings.prompt_share > 0, guided=settings.silent_share > 0)
    return MelDecoder(own)


@dataclass(frozen=True)
class Example:
    """A batch as a mel decoder sees it."""

    condition: Tensor  # [B, T, C]
    mel: Tensor  # [B, T, P], normalised, 0 at padding
    valid: Tensor  # [B, T]
    aside: Tensor | float = 0.0  # the loss of what is learned beside mels: prosody
    scalars: Mapping[str, Tensor | float] = field(default_factory=dict)


def example(learner: MelLearner, batch: Batch) -> Example:
    """Condition and target. Frames are the encoder's; units come as labels, features from its layer.

    A decoder with prosody is given that of the recordings, and learns to predict it. DataError without labels where the
    decoder has units, and without pitch where it has prosody; ConfigError for an encoder of another rate.
    """
    decoder, found = learner.decoder, content_and_mel(learner, batch)
    speakers = batch.groups if decoder.speakers is not None else None
    if decoder.prosody is not None:
        return _with_prosody(decoder, decoder.prosody, found, speakers, batch.pitch)
    return replace(found, condition=decoder.condition(found.condition, speakers))


def content_and_mel(learner: MelLearner, batch: Batch) -> Example:
    """`example` without speakers and prosody: in place of a condition units [B, T], or features [B, T, C]."""
    decoder, encoder = learner.decoder, learner.encoder
    config = decoder.config
    hop = config.hop * config.frames_per_unit
    if (encoder.sample_rate, encoder.conv.hop) != (config.sample_rate, hop):
        raise ConfigError(f"a mel decoder of {hop} samples a unit at {config.sample_rate} Hz for an encoder of "
                          f"{encoder.conv.hop} at {encoder.sample_rate} Hz: set hop and frames_per_unit")  # fmt: skip
    lengths = encoder.frame_lengths(batch.lengths)
    frames = int(lengths.max())
    valid = valid_mask(lengths, frames)
    if config.num_units:
        if batch.labels is None:
            raise DataError("this mel decoder learns from units: give data.labels, an output of speechssl units")
        content = frame_labels(batch.labels, frames)
        valid = valid & (content >= 0)
        content = content.clamp_min(0)
    else:
        heard, noise = batch, learner.config.noise
        if noise is not None:
            heard = replace(batch, wav=noisy_batch(batch.wav, batch.lengths, batch.seeds, noise))
        content = features(encoder, learner.config.layer, heard)[:, :frames]
        content = zero_padding(content if learner.soft is None else learner.soft(content), valid)
    return Example(content, zero_padding(decoder.patches(batch.wav, batch.lengths, frames), valid), valid)


def _with_prosody(
    decoder: MelDecoder, prosody: Prosody, of: Example, speakers: Tensor | None, pitch: Tensor | None
) -> Example:
    """The example of units [B, T], in place of a condition, with what is heard in its mels and in pitch [B, T, 2]."""
    runs, contours, predicted = heard_and_predicted(decoder, prosody, of, pitch)
    losses = prosody_losses(predicted, contours, runs)
    count = runs.valid.sum().clamp_min(1)
    heard = speakers if prosody.speaker is None else prosody.embed_speaker(of.mel, of.valid)
    condition = decoder.condition(of.condition, heard, over_frames(prosody.inputs(contours), runs))
    return replace(of, condition=condition, aside=sum(losses.values(), torch.zeros(())).to(of.mel),
                   scalars={name: loss.detach() / count for name, loss in losses.items()})  # fmt: skip


def heard_and_predicted(
    decoder: MelDecoder, prosody: Prosody, of: Example, pitch: Tensor | None
) -> tuple[Runs, Contours, Predicted]:
    """The runs of units [B, T] that `of` has in place of a condition, their prosody, and what is predicted of it."""
    if pitch is None:
        raise DataError("this mel decoder learns prosody: give data.pitch, an output of speechssl pitch")
    runs = runs_of(of.condition, of.valid)
    contours = contours_of(pitch, decoder.mels(of.mel), runs)
    embedded = prosody.embed(of.mel, of.valid)
    return runs, contours, prosody.predict(decoder.content(runs.ids), embedded, runs.valid)


@torch.no_grad()
def features(encoder: SpeechEncoder, layer: int, batch: Batch) -> Tensor:
    """Layer [B, T, D] of a frozen encoder, without dropout."""
    encoder.eval()
    layers, _ = encoder.layers(zero_padding(batch.wav, valid_mask(batch.lengths, batch.wav.shape[1])), batch.lengths,
                               upto=layer)  # fmt: skip
    return layers[layer].float()


@dataclass(frozen=True)
class Shown:
    """An example with what is drawn for it, each utterance's from its own seed."""

    condition: Tensor  # [B, T, C]; some say nothing
    mel: Tensor  # [B, T, P]
    valid: Tensor  # [B, T]
    learned: Tensor  # [B, T]: without the prompt
    prompt: Tensor | None  # [B, T, P]
    noise: Tensor  # [B, T, P] normal, 0 at padding
    uniform: Tensor  # [B], for the time
    aside: Tensor | float  # as in `Example`
    scalars: Mapping[str, Tensor | float]


def shown(learner: MelLearner, batch: Batch) -> Shown:
    """`example`, and draws. A prompt leaves one frame at least to be learned."""
    settings = learner.config
    assert isinstance(settings, DrawnSettings)
    found = example(learner, batch)
    noise, prompted = torch.zeros_like(found.mel), torch.zeros_like(found.valid)
    uniforms = torch.zeros(len(noise), 4)
    for row, (seed, count) in enumerate(zip(batch.seeds.tolist(), found.valid.sum(1).tolist(), strict=True)):
        random = generator(seed)
        uniforms[row] = torch.rand(4, generator=random)
        noise[row, found.valid[row]] = torch.randn(count, found.mel.shape[2], generator=random).to(noise)
        if uniforms[row, 1] < settings.prompt_share:
            prompted[row, : int(float(uniforms[row, 2]) * settings.longest_prompt * count)] = True
    uniforms = uniforms.to(noise.device)
    condition, prompt = found.condition, None
    if settings.silent_share:
        silent = (uniforms[:, 3] < settings.silent_share).view(-1, 1, 1)
        condition = torch.where(silent, learner.decoder.without(condition), condition)
    if settings.prompt_share:
        prompt = found.mel * prompted.unsqueeze(2)
    return Shown(condition, found.mel, found.valid, found.valid & ~prompted, prompt, noise, uniforms[:, 0],
                 found.aside, found.scalars)  # fmt: skip
