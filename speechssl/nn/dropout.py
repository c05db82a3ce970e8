"""Dropout in the encoders' shared blocks, set from outside: how a model is trained is no part of what it is.

Nothing is dropped until `set_dropout` says so, and never in eval mode.
"""

from dataclasses import dataclass

from torch import nn

from speechssl.errors import ConfigError
from speechssl.nn.attention import Attention
from speechssl.nn.conformer import ConformerBlock
from speechssl.nn.decoder_blocks import DecoderBlock, InputDropout
from speechssl.nn.transformer import Block, FeedForward, Transformer
from speechssl.nn.zipformer import ZipformerBlock


@dataclass(frozen=True)
class Dropout:
    """Probabilities. After each field: its name in fairseq's configs. The defaults are wav2vec 2.0 base's."""

    residual: float = 0.1  # dropout: of what a branch adds, and of what enters the first block
    attention: float = 0.1  # attention_dropout: of the attention's weights
    activation: float = 0.0  # activation_dropout: inside the feed-forward network
    layer: float = 0.05  # encoder_layerdrop: a whole block is skipped (arXiv:1909.11556)

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name, value in vars(self).items():
            if not 0 <= value < 1:
                raise ConfigError(f"dropout {name}={value} must be in 0..1")


def set_dropout(model: nn.Module, dropout: Dropout) -> None:
    """Use these probabilities in every transformer of `model` from now on."""
    for module in model.modules():
        match module:
            case Transformer():
                module.dropout, module.layer_drop = dropout.residual, dropout.layer
            case Block() | DecoderBlock() | InputDropout() | ConformerBlock() | ZipformerBlock():
                module.dropout = dropout.residual
            case FeedForward():
                module.dropout = dropout.activation
            case Attention():
                module.dropout = dropout.attention
