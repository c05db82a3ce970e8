"""Kaldi's log-mel filter bank as an encoder without weights: 80 channels, 100 frames a second.

What fairseq's speech-to-unit and speech-to-text models read (arXiv:2107.05604); `nn.fbank_frontend` has the maths. An
adaptor (`nn.adaptor`) with two strides of 2 is the rest of their encoder.
"""

from dataclasses import dataclass
from typing import ClassVar

from speechssl.nn.fbank_frontend import Cmvn, FbankFrontEnd
from speechssl.nn.speech_encoder import Blocks, SpeechEncoder
from speechssl.nn.transformer import Transformer


@dataclass(frozen=True)
class Config:
    """Defaults: fairseq's."""

    sample_rate: int = 16_000
    num_mels: int = 80  # input_feat_per_channel
    cmvn: Cmvn = "utterance"  # utterance_cmvn, global_cmvn; the statistics of "global" are stored with the weights


@dataclass(frozen=True)
class _NoBlocks(Blocks):
    """Frames as they are."""

    @property
    def front_dim(self) -> int:
        """Channels."""
        return self.dim


class Model(SpeechEncoder):
    """Waveform [B, S] to frames [B, T, C]; they are layer 0, the only one."""

    attends: ClassVar[bool] = False
    num_layers = 0

    def __init__(self, config: Config) -> None:
        front = FbankFrontEnd(num_mels=config.num_mels, sample_rate=config.sample_rate, cmvn=config.cmvn)
        shape = _NoBlocks(sample_rate=config.sample_rate, projection=False, projection_norm=False, dim=front.dim,
                          norm_first=True)  # fmt: skip
        blocks = Transformer(dim=front.dim, ffn_dim=1, num_layers=0, num_heads=1, norm_first=True, norm=False)
        super().__init__(shape, transformer=blocks, conv=front)
        self.config = config


PRESETS = {"fairseq": Config()}
