"""Small codecs and speech-like batches."""

import math
from typing import Any

import torch

from speechssl.codecs.learning import Learning, Settings
from speechssl.codecs.model import Codec, Config
from speechssl.data.batch import Batch
from speechssl.training.adversarial import Adversarial
from speechssl.training.adversarial import Config as Losses
from speechssl.vocoders.discriminators import Config as Judges
from tests.encoders.parity import randomize

WAVE: dict[str, Any] = {"family": "codec_wave", "dim": 8, "channels": 4, "strides": (4, 10), "dilations": (1, 3)}
MEL: dict[str, Any] = {"family": "codec_mel", "dim": 8, "channels": 16, "num_blocks": 2, "hop": 40, "window": 128,
                       "num_mels": 16}  # fmt: skip
UP: dict[str, Any] = {"kind": "wave", "channels": 16, "strides": (10, 4), "dilations": (1, 3)}
ISTFT: dict[str, Any] = {"kind": "spectral", "channels": 16, "num_blocks": 2, "hop": 40, "window": 160}
RVQ: dict[str, Any] = {"num_codebooks": 3, "codebook_size": 16}
FSQ: dict[str, Any] = {"quantizer": "fsq", "levels": (5, 4, 3)}
CONFIGS = {
    "wave-rvq": Config(WAVE, UP, **RVQ),
    "mel-rvq": Config(MEL, ISTFT, **RVQ),
    "wave-fsq": Config({**WAVE, "dim": 3}, UP, **FSQ),
    "mel-fsq": Config({**MEL, "dim": 3}, ISTFT, **FSQ),
}
JUDGES = Judges(periods=(2, 3), num_scales=1, fft_sizes=(64,), width=1 / 16)


def make(name: str = "wave-rvq") -> Codec:
    """A codec of random weights and codebooks."""
    codec = Codec(CONFIGS[name])
    randomize(codec)
    for number, book in enumerate(() if codec.fsq else codec.codebooks):  # coarse to fine
        book.mul_(2.0 / 2**number)
    return codec.eval()


def adversarial(name: str = "wave-rvq", *, settings: Settings | None = None, **losses: Any) -> Adversarial:
    """A codec with its discriminators, fresh."""
    torch.manual_seed(0)
    codec = Codec(CONFIGS[name])
    penalties = {} if "fsq" in name else {"commitment": 0.25}
    config = Losses(discriminators=JUDGES, windows=(32, 128), num_mels=(5, 20), penalties=penalties, **losses)
    return Adversarial(Learning(codec, settings or Settings()), config, sample_rate=16_000)


def batch(lengths: tuple[int, ...] = (800, 800), padding: float = 0.0) -> Batch:
    """Tones in noise, each utterance its own."""
    wav = torch.full((len(lengths), max(lengths)), padding)
    for row, length in enumerate(lengths):
        random = torch.Generator().manual_seed(row)
        phase = 2 * math.pi * (200 + 150 * row) / 16_000 * torch.arange(length)
        wav[row, :length] = 0.3 * phase.sin() + 0.02 * torch.randn(length, generator=random)
    seeds = torch.tensor([7 + row for row in range(len(lengths))])
    return Batch(wav, torch.tensor(lengths), seeds, tuple(map(str, range(len(lengths)))))
