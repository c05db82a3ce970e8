"""MelHuBERT (arXiv:2211.09944): HuBERT's transformer over log-mel frames, which cost next to nothing.

The front end, and where it differs from the paper's, is in `nn.mel_frontend`. Trainable by every objective that works
with HuBERT. "tiny" has 6.6 M parameters.
"""

from dataclasses import dataclass

from speechssl.nn.mel_frontend import MelFrontEnd, check_mel
from speechssl.nn.speech_encoder import Context, SpeechEncoder


@dataclass(frozen=True)
class Config(Context):
    """Defaults: the paper's 20 ms model, of HuBERT base's size, which has 40 mel channels."""

    num_mels: int = 40

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_mel("melhubert", self.num_mels, self.sample_rate)
        super().__post_init__()

    @property
    def front_dim(self) -> int:
        """Channels of two log-mel frames."""
        return 2 * self.num_mels


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, conv=MelFrontEnd(num_mels=config.num_mels, sample_rate=config.sample_rate))


PRESETS = {
    "base": Config(),
    "tiny": Config(num_mels=80, dim=256, ffn_dim=1024, num_layers=8, num_heads=4, pos_conv_kernel=64),
}
