"""The encoder of a neural codec: strided convolutions over the waveform, what its quantizer sees is layer 0.

SoundStream (arXiv:2107.03312), EnCodec (arXiv:2210.13438) and the Descript codec (arXiv:2306.06546); blocks in
`nn.wave_encoder`. Every begun hop is a frame. differs: no LSTM, which EnCodec has; the projection to `dim` channels is
one for all codebooks, where the Descript codec has one of each.
"""

from dataclasses import dataclass

from speechssl.errors import ConfigError
from speechssl.nn.wave_blocks import Activation
from speechssl.nn.wave_encoder import FrameEncoder, WaveEncoder


@dataclass(frozen=True)
class Config:
    """Defaults: the Descript codec's at 16 kHz, 50 frames a second, with EnCodec's 128 channels for the quantizer."""

    dim: int = 128
    channels: int = 64  # at the waveform's rate; twice as many after each stride
    strides: tuple[int, ...] = (2, 4, 5, 8)
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 3, 9)
    activation: Activation = "snake"
    sample_rate: int = 16_000

    def __post_init__(self) -> None:
        """Refuse what nobody builds."""
        if not 1 <= len(self.strides) <= 16 or len(self.dilations) > 16 or self.dim < 1 or self.sample_rate < 1:
            raise ConfigError(f"codec_wave needs 1 to 16 strides, at most 16 dilations and dim >= 1, got {self}")


class Model(FrameEncoder):
    """Waveform [B, S] to frames [B, ceil(S / hop), dim]."""

    def __init__(self, config: Config) -> None:
        front = WaveEncoder(config.dim, channels=config.channels, strides=config.strides, kernel=config.kernel,
                            dilations=config.dilations, kind=config.activation)  # fmt: skip
        super().__init__(config, front)


PRESETS = {"descript_16khz": Config()}
