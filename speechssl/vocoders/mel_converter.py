"""StarGANv2-VC (arXiv:2107.10394): the mel of one speaker to that of another, without units or texts.

generator       an encoder of the mel, which takes the speaker's statistics out of it (instance normalisation), and a
                decoder that is told F0 and puts in those of a style (adaptive instance normalisation)
mapping         random numbers to a style of a speaker
style encoder   a mel to the style of a speaker
reader          tells F0, in place of the paper's JDC network (see `vocoders.mel_reader`); frozen

The defaults are the sizes that the authors published. `fold` stacks neighbouring bins and frames as channels before the
first convolution, so that small ones can be trained on a CPU; 1: the paper's.
differs: 80 mels at 100 frames a second of 16 kHz, not 24 kHz, normalised by bin; F0 features are pooled over time and
the same for all bins, where JDC's have an axis of frequency. A speaker's name stands for the mean of the styles that
the style encoder finds in recordings of the training data.

B utterances, T frames, M mel bins, S numbers of a style, Z of what is drawn, N speakers, C channels.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError, DataError
from speechssl.nn.image_blocks import ImageBlock, ImageEncoder, instance_norm
from speechssl.vocoders.mel_reader import Config as ReaderConfig
from speechssl.vocoders.mel_reader import MelReader

_MOST = 1 << 14


@dataclass(frozen=True)
class Config:
    """After each field: its name in the published settings."""

    speakers: tuple[str, ...] = ()  # N, at least two
    channels: int = 64  # dim_in
    most_channels: int = 512  # max_conv_dim
    halvings: tuple[tuple[int, int], ...] = ((2, 2), (2, 1), (2, 2), (2, 1))  # of bins and frames in the generator
    depth: int = 4  # n_repeat, of style encoder and discriminators
    bottleneck: int = 2  # blocks at the end of the encoder, and at the beginning of the decoder
    style: int = 64  # style_dim
    latent: int = 16  # latent_dim
    hidden: int = 512  # of the mapping network
    pitch_channels: int = 128  # half of F0_channel
    fold: int = 1  # bins and frames that become channels
    reader: ReaderConfig = field(default_factory=ReaderConfig)  # with the shape of the mels

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        sizes = (self.channels, self.most_channels, self.depth, self.style, self.latent, self.hidden, self.fold,
                 self.pitch_channels, *(factor for pair in self.halvings for factor in pair))  # fmt: skip
        if min(sizes) < 1 or max(*sizes, self.bottleneck, len(self.halvings)) > _MOST or self.bottleneck < 0:
            raise ConfigError(f"a mel converter needs sizes of 1..{_MOST}, got {self}")
        if self.depth > 10 or not self.halvings:
            raise ConfigError(f"a mel converter needs halvings and a depth of at most 10, got {self.halvings} and "
                              f"{self.depth}")  # fmt: skip
        if self.reader.num_mels % self.rows or self.reader.num_mels // self.fold >> self.depth < 1:
            raise ConfigError(f"{self.reader.num_mels} mel bins must be a multiple of {self.rows}, by which fold and "
                              f"halvings divide them, and last for {self.depth} halvings")  # fmt: skip
        if len(set(self.speakers)) < len(self.speakers):
            raise ConfigError(f"speakers must be all different, got {self.speakers}")

    @property
    def rows(self) -> int:
        """By how much the generator makes the mel axis smaller."""
        return self.fold * math.prod(bins for bins, _ in self.halvings)

    @property
    def step(self) -> int:
        """Mel frames of one column in the middle of the generator."""
        return self.fold * math.prod(frames for _, frames in self.halvings)


def to_image(mel: Tensor, fold: int, frames: int) -> Tensor:
    """[B, fold * fold, M / fold, T' / fold] of mels [B, T, M]; T': the next multiple of `frames`, the end repeated."""
    image = mel.transpose(1, 2).unsqueeze(1)
    image = F.pad(image, (0, -mel.shape[1] % frames, 0, 0), "replicate")
    return F.pixel_unshuffle(image, fold)


class Generator(nn.Module):
    """Normalised mels to normalised mels."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        depth, cells, told = len(config.halvings), config.fold**2, config.pitch_channels
        sizes = [min(config.most_channels, config.channels << level) for level in range(depth + 1)]
        middle, style = sizes[-1], config.style
        pairs = list(zip(sizes, sizes[1:], config.halvings, strict=False))
        self.stem = nn.Conv2d(cells, sizes[0], 3, padding=1)
        self.encoder = nn.ModuleList(ImageBlock(a, b, norm="instance", resample=by) for a, b, by in pairs)
        self.encoder.extend(ImageBlock(middle, middle, norm="instance") for _ in range(config.bottleneck))
        self.pitch = nn.Conv1d(config.reader.dim, told, 3, padding=1)
        self.decoder = nn.ModuleList(
            ImageBlock(middle + told, middle + told, norm="style", style=style) for _ in range(config.bottleneck)
        )
        self.decoder.append(ImageBlock(middle + told, middle, norm="style", style=style))
        self.decoder.extend(ImageBlock(b, a, norm="style", style=style, resample=by, up=True)
                            for a, b, by in reversed(pairs))  # fmt: skip
        self.last = nn.Conv2d(sizes[0], cells, 1)

    def forward(self, mel: Tensor, style: Tensor, pitch: Tensor) -> Tensor:
        """[B, T, M] of mel [B, T, M] in the style [B, S], told F0 features [B, T, C] of the reader."""
        frames, step = mel.shape[1], self.config.step
        x = self.stem(to_image(mel, self.config.fold, step))
        for block in self.encoder:
            x = block(x)
        heard = self.pitch(F.pad(pitch.transpose(1, 2), (0, -frames % step), "replicate"))
        heard = F.avg_pool1d(heard, step).unsqueeze(2).expand(-1, -1, x.shape[2], -1)
        x = torch.cat([x, heard.to(x.dtype)], 1)
        for block in self.decoder:
            x = block(x, style)
        image = self.last(F.leaky_relu(instance_norm(x), 0.2))
        return F.pixel_shuffle(image, self.config.fold)[:, 0, :, :frames].transpose(1, 2)


class Mapping(nn.Module):
    """Drawn numbers to styles: four layers that speakers share, and four of each."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden = config.hidden
        self.shared = nn.Sequential(*_layers(config.latent, hidden))
        for _ in range(3):
            self.shared.extend(_layers(hidden, hidden))
        self.own = nn.ModuleList()
        for _ in config.speakers:
            layers = nn.Sequential()
            for _ in range(3):
                layers.extend(_layers(hidden, hidden))
            self.own.append(layers.append(nn.Linear(hidden, config.style)))

    def forward(self, latent: Tensor, speakers: Tensor) -> Tensor:
        """[B, S] of latent [B, Z] normal, for speakers [B] int64."""
        hidden = self.shared(latent)
        return of_speaker(torch.stack([layers(hidden) for layers in self.own], 1), speakers)


def _layers(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU()]


def of_speaker(values: Tensor, speakers: Tensor) -> Tensor:
    """[B, ...] of values [B, N, ...]: those of speakers [B] int64."""
    return values[torch.arange(len(values), device=values.device), speakers]


class MelHeads(nn.Module):
    """An image encoder with an output for every speaker: style encoder, discriminator, source classifier."""

    def __init__(self, config: Config, *, channels: int, numbers: int) -> None:
        super().__init__()
        self.fold, self.numbers = config.fold, numbers
        self.encoder = ImageEncoder(config.fold**2, channels, most=config.most_channels, depth=config.depth)
        self.heads = nn.Linear(self.encoder.outputs, numbers * len(config.speakers))

    def forward(self, mel: Tensor) -> Tensor:
        """[B, N, numbers] of mel [B, T, M]."""
        found = self.encoder(to_image(mel, self.fold, self.fold * self.encoder.smallest))
        return self.heads(found).unflatten(1, (-1, self.numbers))


class MelConverter(nn.Module):
    """All that is kept. `mean` and `scale` are the reader's; `voices` [N, S] the styles that names stand for."""

    voices: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if len(config.speakers) < 2:
            raise ConfigError(f"a mel converter needs two speakers at least, got {list(config.speakers)}: give data "
                              "with utt2spk of several")  # fmt: skip
        self.config = config
        self.generator = Generator(config)
        self.mapping = Mapping(config)
        self.style_encoder = MelHeads(config, channels=config.channels, numbers=config.style)
        self.reader = MelReader(config.reader).requires_grad_(False)
        self.register_buffer("voices", torch.zeros(len(config.speakers), config.style))

    def mels(self, wav: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
        """Normalised log mels [B, num_frames, M] of wav [B, S] with lengths [B]."""
        return self.normalized(self.reader.mels(wav, lengths, num_frames))

    def normalized(self, mel: Tensor) -> Tensor:
        """Log mels [..., M] to zero mean and unit variance."""
        return (mel - self.reader.mean) / self.reader.scale

    def log_mels(self, mel: Tensor) -> Tensor:
        """The way back from `normalized`."""
        return mel.float() * self.reader.scale + self.reader.mean

    def style(self, mel: Tensor, speakers: Tensor) -> Tensor:
        """[B, S] of normalised mels [B, T, M] of speakers [B] int64."""
        return of_speaker(self.style_encoder(mel), speakers)

    def forward(self, mel: Tensor, style: Tensor, pitch: Tensor | None = None) -> Tensor:
        """Normalised mels [B, T, M] of the same in the style [B, S]; pitch: the reader's, where it is known already."""
        pitch = self.reader.hear_pitch(self.log_mels(mel)) if pitch is None else pitch
        return self.generator(mel, style, pitch)

    @torch.no_grad()
    def convert(self, mel: Tensor, style: Tensor) -> Tensor:
        """Log mels [T, M] of log mels [T, M] in the style [S]. DataError for no frame, and for other shapes."""
        bins = self.config.reader.num_mels
        if mel.ndim != 2 or mel.shape[1] != bins or not len(mel) or not bool(mel.isfinite().all()):
            raise DataError(f"expected finite mels [frames, {bins} bins], got {list(mel.shape)}")
        if style.shape != (self.config.style,):
            raise DataError(f"a style of {list(style.shape)} numbers: this mel converter takes {self.config.style}")
        return self.log_mels(self(self.normalized(mel)[None], style[None]))[0]

    @torch.no_grad()
    def nearest(self, mel: Tensor) -> tuple[int, Tensor]:
        """Which speaker a log mel [T, M] is most like, and its style [S] as that one's.

        By the distance of the style that is found for every speaker to that speaker's own in `voices`.
        """
        styles = self.style_encoder(self.normalized(mel)[None])[0]
        number = int((styles - self.voices).abs().mean(1).argmin())
        return number, styles[number]
