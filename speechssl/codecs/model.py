"""A neural codec: waveform to codes of one or several codebooks, 50 times a second or so, and back.

An encoder without blocks (`encoders.codec_wave`, `codec_mel`), residual vector quantization or FSQ of its layer 0, and
a generator. SoundStream (arXiv:2107.03312), EnCodec (arXiv:2210.13438), Descript (arXiv:2306.06546), Vocos
(arXiv:2306.00814) as a decoder, FSQ (arXiv:2309.15505) as in later codecs.

Lengths: S samples give T = ceil(S / hop) frames, and T frames give T * hop samples, of which the first S are those of
the recording. What an utterance gives does not depend on its neighbours in a batch, in either direction.

B utterances, S samples, T frames, C channels, G codebooks of V entries.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechssl import encoders
from speechssl.config import to_dict
from speechssl.errors import ConfigError, DataError
from speechssl.nn.lengths import valid_mask, valid_or_none
from speechssl.nn.wave_encoder import FrameEncoder
from speechssl.quantizers.fsq import FSQ
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.residual_codes import ResidualCodes
from speechssl.vocoders import generators

_MOST_CODEBOOKS = 64
_PIECE = 2000  # frames that are decoded at once
_OVERLAP = 64  # frames to either side of a piece that are decoded with it; no generator here sees further


@dataclass(frozen=True)
class Config:
    """What a codec is made of. rvq: num_codebooks and codebook_size; fsq: levels, as many as the encoder's `dim`."""

    encoder: dict[str, Any] = field(default_factory=lambda: {"family": "codec_wave"})  # and values of its Config
    decoder: dict[str, Any] = field(default_factory=lambda: {"kind": "wave"})  # see `vocoders.generators`
    quantizer: Literal["rvq", "fsq"] = "rvq"
    num_codebooks: int | None = None
    codebook_size: int | None = None
    levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings without effect, and sizes that no codec has."""
        books = (self.num_codebooks, self.codebook_size)
        if self.quantizer == "fsq":
            if not self.levels or books != (None, None):
                raise ConfigError("fsq needs levels, and num_codebooks and codebook_size have no effect with it")
        elif self.levels or None in books:
            raise ConfigError("rvq needs num_codebooks and codebook_size, and levels have no effect with it")
        if not 1 <= (self.num_codebooks or 1) <= _MOST_CODEBOOKS or not 2 <= (self.codebook_size or 2) <= 1 << 20:
            raise ConfigError(f"num_codebooks must be 1..{_MOST_CODEBOOKS} and codebook_size 2..{1 << 20}, got {books}")


class Codec(nn.Module):
    """Encoder, codebooks and decoder. `codebooks` [G, V, C] is a buffer; with FSQ there is none.

    `config` is the given one with all defaults spelt out.
    """

    codebooks: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        values = dict(config.encoder)
        family = values.pop("family", None)
        encoder = encoders.build(str(family), encoders.preset(str(family), values.pop("preset", None)) | values)
        if not isinstance(encoder, FrameEncoder):
            raise ConfigError(f"a codec needs an encoder of family codec_wave or codec_mel, not {family!r}")
        self.encoder = encoder
        decoder = generators.parse(config.decoder)
        self.decoder = generators.build(encoder.dim, decoder)
        self.config = replace(
            config,
            encoder={"family": family, **to_dict(encoder.config)},
            decoder={"kind": config.decoder["kind"], **to_dict(decoder)},
        )
        if self.decoder.hop != encoder.hop:
            raise ConfigError(f"the decoder makes {self.decoder.hop} samples of a frame, the encoder a frame of "
                              f"{encoder.hop}")  # fmt: skip
        if config.quantizer == "fsq" and len(config.levels) != encoder.dim:
            raise ConfigError(f"{len(config.levels)} levels need an encoder with dim={len(config.levels)}, got "
                              f"{encoder.dim}")  # fmt: skip
        self.fsq = FSQ(config.levels) if config.quantizer == "fsq" else None
        shape = (config.num_codebooks or 0, config.codebook_size or 0, encoder.dim)
        self.register_buffer("codebooks", torch.zeros(shape) if self.fsq is None else None)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.encoder.sample_rate

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return self.encoder.hop

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def sizes(self) -> tuple[int, ...]:
        """V of each codebook; FSQ has one."""
        if self.fsq is not None:
            return (self.fsq.size,)
        return (self.config.codebook_size or 0,) * (self.config.num_codebooks or 0)

    @property
    def bitrate(self) -> float:
        """bit/s: frames per second x the sum of log2 V, without entropy coding."""
        return self.rate_hz * sum(math.log2(size) for size in self.sizes)

    def quantizer(self) -> ResidualCodes | FSQ:
        """Frames [..., C] to codes and back: [..., G] of the codebooks as they are now, [...] of FSQ."""
        return ResidualCodes([KMeans(book) for book in self.codebooks]) if self.fsq is None else self.fsq

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes [B, T, G] int64 of wav [B, S], 0 behind an utterance's end, and frame counts [B].

        lengths [B] are real samples (None: all of S). DataError for samples that are not finite.
        """
        frames, counts = self.encoder(wav, lengths)
        if not bool(frames.isfinite().all()):
            raise DataError("the codec's encoder gave NaN or infinity: are the samples finite?")
        quantizer = self.quantizer()
        codes = quantizer.encode(frames)
        codes = codes.unsqueeze(-1) if isinstance(quantizer, FSQ) else codes
        return codes * valid_mask(counts, codes.shape[1]).unsqueeze(2), counts

    @torch.no_grad()
    def decode(self, codes: Tensor, counts: Tensor | None = None) -> Tensor:
        """wav [B, T * hop] of codes [B, T, n] of the first n codebooks; silence behind counts [B] frames (None: T).

        Whoever knows the number of samples cuts wav there. Raises DataError for codes that do not exist.
        """
        return self.decoder(self.vectors(codes), None if counts is None else valid_or_none(counts, codes.shape[1]))

    def vectors(self, codes: Tensor) -> Tensor:
        """What the decoder is given for codes [B, T, n]: [B, T, C]."""
        if codes.ndim != 3 or codes.is_floating_point() or not 1 <= codes.shape[2] <= len(self.sizes):
            raise DataError(f"expected whole codes [B, T, n] of 1 to {len(self.sizes)} codebooks, got {codes.dtype} "
                            f"{list(codes.shape)}")  # fmt: skip
        if self.fsq is not None:
            return self.fsq.decode(codes.squeeze(2))
        quantizer = self.quantizer()
        assert isinstance(quantizer, ResidualCodes)
        return quantizer.decode(codes)

    @torch.inference_mode()
    def synthesize(self, codes: Tensor, num_samples: int | None = None) -> Tensor:
        """wav [S] of codes [T, n] of a recording of any length, in pieces that overlap: `decode` up to rounding.

        num_samples: of the recording; None: T * hop. DataError where T frames are not those of so many samples.
        """
        total = codes.shape[0] * self.hop
        if num_samples is not None and not total - self.hop < num_samples <= total:
            raise DataError(f"{len(codes)} frames are of {max(0, total - self.hop + 1)}..{total} samples, not of "
                            f"{num_samples}")  # fmt: skip
        pieces = []
        for start in range(0, len(codes), _PIECE):
            first = max(0, start - _OVERLAP)
            wav = self.decode(codes[None, first : start + _PIECE + _OVERLAP])[0]
            pieces.append(wav[(start - first) * self.hop :][: _PIECE * self.hop])
        whole = torch.cat(pieces) if pieces else torch.zeros(0)
        return whole[: total if num_samples is None else num_samples]
