"""F0 as codes: a VQ-VAE of pitch contours, for vocoders that are told little about pitch (arXiv:2104.00355, section 3).

Strided convolutions with dilated residual blocks between them make one vector of `ratio` frames of F0, a codebook
of moving averages replaces it, the mirror image of the encoder makes F0 of it again; only the codes go to the vocoder.
The blocks are those of Jukebox (arXiv:2005.00341, appendix). At 50 units a second and a ratio of 4, 20 codes are 54
bit/s, where a code for every unit would be 216.

B utterances, T frames of F0, I numbers of each (normalised F0 with 0 where unvoiced; perhaps voicing), D dimensions of
the codebook, V codes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.quantizers.ema import EmaCodebooks

_MOST = 1 << 12  # of any size


@dataclass(frozen=True)
class Config:
    """Defaults: speech-resynthesis' f0_vqvae for VCTK, but for 50 frames a second where it has 200. Behind each: its
    name there.
    """

    num_codes: int = 20  # V; l_bins
    dim: int = 128  # D; emb_width
    channels: int = 32  # width
    stages: int = 2  # downs_t, 4 there: each halves the frames
    depth: int = 4  # residual blocks of a stage
    growth: int = 3  # of the dilation from block to block; dilation_growth_rate
    inputs: int = 2  # I: 1, or 2 with voicing; input_emb_width, 1 there
    frames_per_unit: int = 1  # of F0; there 4
    decay: float = 0.99  # of the codebook's averages; mu

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        sizes = (self.num_codes, self.dim, self.channels, self.stages, self.depth, self.growth, self.frames_per_unit)
        if min(sizes) < 1 or max(sizes) > _MOST or self.inputs not in (1, 2):
            raise ConfigError(f"a coder of pitch needs sizes of 1..{_MOST} and 1 or 2 inputs, got {self}")
        if self.stages > 12 or self.growth ** (self.depth - 1) > 1 << 16 or self.ratio % self.frames_per_unit:
            raise ConfigError(f"{self.stages} stages make one code of {self.ratio} frames, which must be whole units "
                              f"of {self.frames_per_unit}, and dilations of at most 65536")  # fmt: skip

    @property
    def ratio(self) -> int:
        """Frames of F0 to a code."""
        return 1 << self.stages


class Residual(nn.Module):
    """A block [B, C, T] -> [B, C, T]."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.last = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x and what the block adds."""
        return x + self.last(self.dilated(x.relu()).relu())


class PitchCoder(nn.Module):
    """Contours to codes and back."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, stages = config.channels, range(config.stages)
        down = [nn.Sequential(nn.Conv1d(channels if stage else config.inputs, channels, 4, 2, 1), self._blocks())
                for stage in stages]  # fmt: skip
        self.encoder = nn.Sequential(*down, nn.Conv1d(channels, config.dim, 3, padding=1))
        widths = [*(channels for _ in stages[1:]), config.dim]
        up = [nn.Sequential(self._blocks(), nn.ConvTranspose1d(channels, width, 4, 2, 1)) for width in widths]
        self.decoder = nn.Sequential(nn.Conv1d(config.dim, channels, 3, padding=1), *up,
                                     nn.Conv1d(config.dim, config.inputs, 3, padding=1))  # fmt: skip
        self.codebook = EmaCodebooks(config.dim, config.num_codes, decay=config.decay, start="small", restart_after=20)

    def _blocks(self) -> nn.Sequential:
        config = self.config
        return nn.Sequential(*(Residual(config.channels, config.growth**number) for number in range(config.depth)))

    def hidden(self, pitch: Tensor) -> Tensor:
        """What becomes codes, [B, N, D], of pitch [B, T, I]; N = ceil(T / ratio), the end as if unvoiced."""
        missing = -pitch.shape[1] % self.config.ratio
        x = F.pad(pitch[..., : self.config.inputs], (0, 0, 0, missing)).transpose(1, 2)
        return self.encoder(x.to(self.codebook.sums.dtype)).transpose(1, 2)

    @torch.no_grad()
    def encode(self, pitch: Tensor) -> Tensor:
        """Codes [B, N] int64 of pitch [B, T, I]."""
        found = self.hidden(pitch)
        return self.codebook.encode(found.flatten(0, 1).unsqueeze(0)).view(found.shape[:2])

    def vectors(self, codes: Tensor) -> Tensor:
        """Codewords [B, N, D] of codes [B, N]."""
        return self.codebook.decode(codes.flatten().unsqueeze(1))[0].unflatten(0, codes.shape)

    def reconstruct(self, vectors: Tensor) -> Tensor:
        """Pitch [B, ratio * N, I] of what stands for codes, [B, N, D]."""
        return self.decoder(vectors.transpose(1, 2)).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Pitch [B, ratio * N, I] of codes [B, N]."""
        return self.reconstruct(self.vectors(codes))

    def per_unit(self, codes: Tensor, num_units: int) -> Tensor:
        """Each unit's code [B, num_units] of codes [B, N]."""
        repeated = codes.repeat_interleave(self.config.ratio // self.config.frames_per_unit, dim=1)
        return repeated[:, :num_units]
