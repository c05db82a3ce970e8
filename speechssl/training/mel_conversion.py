"""Training of a mel converter against a discriminator and a source classifier (StarGANv2-VC, arXiv:2107.10394).

As in `training.adversarial` both players' losses come from one forward pass: the converter's with the critics'
parameters held fixed, the critics' on what was converted as a constant. Targets are utterances of the batch, of any of
its speakers. The weights are those of the settings that the authors published.

differs: styles are drawn (mapping network) in one update and found in recordings (style encoder) in the next, where the
released code does both in every one; both players step from the same state; an average of the converter's weights is
kept (arXiv:1912.01865, section 3); R1 may be taken every so many updates, times their number (arXiv:1912.04958,
appendix B). Of the released code's additions to the paper, the consistency of the discriminator under augmentation and
a first loss that brings F0 to the reference's are left out.

B utterances, T frames, M mel bins, S numbers of a style.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch, generator
from speechssl.errors import ConfigError, DataError
from speechssl.nn import conversion_losses as losses
from speechssl.nn.ema import follow
from speechssl.nn.image_blocks import draw_weights
from speechssl.objectives import Outcome
from speechssl.training.adversarial import held_fixed
from speechssl.vocoders.mel_converter import Config as ConverterConfig
from speechssl.vocoders.mel_converter import MelConverter, MelHeads, of_speaker
from speechssl.vocoders.mel_reader import MelReader


@dataclass(frozen=True)
class Losses:
    """Weights. After each field: its name in the published settings, and its value there where it is another."""

    adversarial: float = 2.0  # lambda_adv
    source: float = 0.5  # lambda_adv_cls: the converter's, of the source classifier
    style: float = 1.0  # lambda_sty
    diversity: float = 1.0  # lambda_ds, taken away
    pitch: float = 5.0  # lambda_f0
    speech: float = 0.0  # lambda_asr: 10; needs a reader that hears units
    norm: float = 1.0  # lambda_norm
    norm_bias: float = 0.5  # norm_bias
    cycle: float = 5.0  # lambda_cyc
    classifier: float = 0.1  # lambda_adv_cls of the critics
    classifier_from: int = 0  # update from which the source classifier takes part (adv_cls_epoch: 50 epochs)
    r1: float = 1.0  # lambda_reg
    r1_every: int = 1  # updates
    decay: float = 0.999  # of the average of weights

    def __post_init__(self) -> None:
        """Refuse weights that reward, and an average that is none."""
        weights = (self.adversarial, self.source, self.style, self.diversity, self.pitch, self.speech, self.norm,
                   self.norm_bias, self.cycle, self.classifier, self.r1)  # fmt: skip
        if min(weights) < 0 or self.classifier_from < 0 or self.r1_every < 1 or not 0 <= self.decay < 1:
            raise ConfigError("weights and classifier_from must not be negative, r1_every at least 1, decay in 0..1, "
                              f"got {self}")  # fmt: skip


@dataclass(frozen=True)
class Targets:
    """Whom each utterance of a batch is converted to, drawn from its own seed."""

    rows: Tensor  # [B] int64: an utterance of the target
    others: Tensor  # [B] int64: another one of the same speaker, where there is one
    latents: Tensor  # [2, B, Z] normal


def draw_targets(speakers: Tensor, seeds: Tensor, latent: int) -> Targets:
    """Of speakers [B] and seeds [B] int64: a speaker of the batch, which may be an utterance's own, and who says it.

    Where targets are always others, two speakers are learned without styles: whoever it is becomes the other.
    """
    here, rows, others, latents = speakers.cpu(), [], [], []
    for number, seed in enumerate(seeds.tolist()):
        random = generator(seed)
        wanted = _one_of(here.unique(), random)
        same = torch.nonzero(here == wanted).flatten()
        rows.append(int(_one_of(_without(same, number), random)))
        others.append(int(_one_of(_without(same, rows[-1]), random)))
        latents.append(torch.randn(2, latent, generator=random))
    device = speakers.device
    return Targets(torch.tensor(rows, device=device), torch.tensor(others, device=device),
                   torch.stack(latents, 1).to(device))  # fmt: skip


def _one_of(values: Tensor, random: torch.Generator) -> Tensor:
    return values[torch.randint(len(values), (), generator=random)]


def _without(rows: Tensor, row: int) -> Tensor:
    """All rows but this one, where there are others."""
    return rows[rows != row] if len(rows) > 1 else rows


class Conversion(nn.Module):
    """Converter, its average, and critics: what `loop.Trainer` trains. Groups of a batch are its speakers."""

    updates: Tensor

    skips_parameters = True  # the mapping network has no gradient in every other update

    def __init__(self, config: ConverterConfig, reader: MelReader, weights: Losses, *, critic_channels: int) -> None:
        super().__init__()
        if weights.speech and reader.content is None:
            raise ConfigError("losses.speech needs a reader that hears units: train it with data.labels")
        self.weights = weights
        self.converter = MelConverter(replace(config, reader=reader.config))
        self.converter.reader.load_state_dict(reader.state_dict())
        for part in (self.converter.generator, self.converter.mapping, self.converter.style_encoder):
            draw_weights(part)
        self.average = copy.deepcopy(self.converter).requires_grad_(False)
        self.discriminator = MelHeads(self.converter.config, channels=critic_channels, numbers=1)
        self.classifier = MelHeads(self.converter.config, channels=critic_channels, numbers=1)
        draw_weights(self.discriminator)
        draw_weights(self.classifier)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Outcome:
        """In training mode both players' losses, times B; in eval mode how far mels come back, and what is kept."""
        if batch.groups is None:
            raise DataError("a mel converter learns from speakers: give data with utt2spk")
        return self._learn(batch, batch.groups) if self.training else self._measure(batch, batch.groups)

    def after_step(self, step: int) -> None:
        """Count, and let the average follow."""
        self.updates.fill_(step)
        follow(self.average, self.converter, self.weights.decay)

    def _learn(self, batch: Batch, speakers: Tensor) -> Outcome:
        frames = int(batch.lengths.min()) // self.converter.config.reader.hop  # what all have
        mel = self.converter.mels(batch.wav, batch.lengths, frames)
        drawn = draw_targets(speakers, batch.seeds, self.converter.config.latent)
        wanted = speakers[drawn.rows]
        style, other = self._styles(mel, wanted, drawn)
        pitch = self.converter.reader.hear_pitch(self.converter.log_mels(mel))
        made = self.converter(mel, style, pitch)
        ours, told = self._ours(Converted(mel, made, style, other, pitch, speakers, wanted))
        theirs, seen = self._theirs(mel, made.detach(), speakers, wanted)
        count = len(mel)
        return Outcome((ours + theirs) * count, count, told | seen)

    def _styles(self, mel: Tensor, wanted: Tensor, drawn: Targets) -> tuple[Tensor, Tensor]:
        """[B, S] of the targets, and others of them, which are constants."""
        if int(self.updates) % 2 == 0:
            style = self.converter.mapping(drawn.latents[0], wanted)
            with torch.no_grad():
                return style, self.converter.mapping(drawn.latents[1], wanted)
        style = self.converter.style(mel[drawn.rows], wanted)
        with torch.no_grad():
            return style, self.converter.style(mel[drawn.others], wanted)

    def _ours(self, of: "Converted") -> tuple[Tensor, dict[str, Tensor | float]]:
        """The converter's loss: eq. (9)."""
        weights, converter = self.weights, self.converter
        real, made = converter.log_mels(of.mel), converter.log_mels(of.made)
        hidden = converter.reader.hear_pitch(made)
        with torch.no_grad():
            other = converter(of.mel, of.other, of.pitch)
            other_hidden = converter.reader.hear_pitch(converter.log_mels(other))
        again = converter(of.made, converter.style(of.mel, of.speakers), hidden)
        with held_fixed(self.discriminator):
            judged = of_speaker(self.discriminator(of.made), of.wanted).squeeze(1)
        terms = {
            "adversarial": losses.generator_loss(judged),
            "style": losses.style_loss(of.style, converter.style(of.made, of.wanted)),
            "diversity": losses.diversity_loss(of.made, other, hidden, other_hidden),
            "pitch": losses.pitch_loss(converter.reader.hertz(of.pitch), converter.reader.hertz(hidden)),
            "norm": losses.norm_loss(real, made, bias=weights.norm_bias),
            "cycle": losses.cycle_loss(of.mel, again),
        }
        if weights.speech:
            with torch.no_grad():
                said = converter.reader.hear_content(real)
            terms["speech"] = losses.speech_loss(said, converter.reader.hear_content(made))
        if self._classifies:
            with held_fixed(self.classifier):
                terms["source"] = losses.source_classifier_loss(self.classifier(of.made).squeeze(2), of.wanted)
        signs = {"diversity": -1.0}
        total = torch.stack([signs.get(k, 1.0) * getattr(weights, k) * v.float() for k, v in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def _theirs(
        self, mel: Tensor, made: Tensor, speakers: Tensor, wanted: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """The critics' loss: eq. (10), with R1."""
        weights, penalized = self.weights, self.weights.r1 > 0 and int(self.updates) % self.weights.r1_every == 0
        with torch.autocast(mel.device.type, enabled=torch.is_autocast_enabled(mel.device.type) and not penalized):
            real_mel = mel.detach().requires_grad_(penalized)
            real = of_speaker(self.discriminator(real_mel), speakers).squeeze(1)
            found = of_speaker(self.discriminator(made.float()), wanted).squeeze(1)
        total = losses.discriminator_loss(real, found)
        scalars: dict[str, Tensor | float] = {"discriminator": total.detach()}
        if penalized:
            total = total + weights.r1 * weights.r1_every * losses.gradient_penalty(real_mel, real)
        if self._classifies:
            source = losses.source_classifier_loss(self.classifier(made).squeeze(2), speakers)
            total, scalars["classifier"] = total + weights.classifier * source, source.detach()
        return total, scalars

    @property
    def _classifies(self) -> bool:
        weights = self.weights
        return (weights.classifier > 0 or weights.source > 0) and int(self.updates) >= weights.classifier_from

    def _measure(self, batch: Batch, speakers: Tensor) -> Outcome:
        """Of each utterance by itself, to the next speaker and back, by the averaged weights and the voices of now."""
        model, hop = self.average, self.converter.config.reader.hop
        sums = dict.fromkeys(("cycle", "pitch", "norm"), 0.0)
        for wav, length, speaker in zip(batch.wav, batch.lengths, speakers, strict=True):
            frames = max(1, int(length) // hop)
            mel, who = model.mels(wav[None], length[None], frames), speaker[None]
            target = (who + 1) % len(model.config.speakers)
            style = model.mapping(torch.zeros(1, model.config.latent, device=mel.device), target)
            made = model(mel, style)
            again = model(made, model.style(mel, who))
            f0 = [model.reader.hertz(model.reader.hear_pitch(model.log_mels(one))) for one in (mel, made)]
            found = {"cycle": losses.cycle_loss(mel, again), "pitch": losses.pitch_loss(*f0),
                     "norm": losses.norm_loss(model.log_mels(mel), model.log_mels(made))}  # fmt: skip
            sums = {name: total + float(found[name]) for name, total in sums.items()}
        count = len(batch.wav)
        return Outcome(torch.tensor(sums["cycle"]), count, {name: total / count for name, total in sums.items()})


@dataclass(frozen=True)
class Converted:
    """A batch and what became of it."""

    mel: Tensor  # [B, T, M] normalised
    made: Tensor  # [B, T, M]
    style: Tensor  # [B, S] that it was told
    other: Tensor  # [B, S] another one of the same speaker, a constant
    pitch: Tensor  # [B, T, C] of the reader
    speakers: Tensor  # [B] int64
    wanted: Tensor  # [B] int64


@torch.no_grad()
def find_voices(converter: MelConverter, batches: Iterable[Batch], *, enough: int = 30) -> None:
    """Fill `voices` with the mean style of each speaker's first `enough` utterances; batches after that are not read.

    DataError where one of them has none.
    """
    hop, device = converter.config.reader.hop, converter.voices.device
    found: list[list[Tensor]] = [[] for _ in converter.config.speakers]
    for batch in batches:
        assert batch.groups is not None
        for wav, length, speaker in zip(batch.wav, batch.lengths, batch.groups, strict=True):
            if len(found[int(speaker)]) < enough:
                mel = converter.mels(wav[None].to(device), length[None].to(device), max(1, int(length) // hop))
                found[int(speaker)].append(converter.style(mel, speaker[None].to(device))[0])
        if min(map(len, found)) == enough:
            break
    for name, styles in zip(converter.config.speakers, found, strict=True):
        if not styles:
            raise DataError(f"speaker {name!r} has no recording to find a style in")
    converter.voices.copy_(torch.stack([torch.stack(styles).mean(0) for styles in found]))
