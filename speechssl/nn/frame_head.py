"""What turns an encoder's layers into scores per frame: a choice of layers, a few blocks of its own or none, a linear
map. A recogniser's head (wav2vec 2.0, arXiv:2006.11477, section 3.3: linear, on the last layer).

B utterances, T frames, C channels of the encoder, D of the head, V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechssl.errors import ConfigError
from speechssl.nn.dilated import DilatedBlocks
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.initialize import initialize
from speechssl.nn.lengths import valid_or_none, zero_padding
from speechssl.nn.positional import ConvPosition
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.nn.transformer import Transformer


@dataclass(frozen=True)
class Head:
    """How scores are made."""

    kind: Literal["linear", "blstm", "tdnn", "transformer"] = "linear"
    layer: int | None = None  # of the encoder, blocks above are left out; None: its final output
    weighted: bool = False  # a learned mean of layers 0..layer in place of one, as in SUPERB (arXiv:2105.01051)
    dim: int = 256  # D, not for linear; of blstm both directions together
    num_layers: int = 1  # blstm and transformer only
    dilations: tuple[int, ...] = (1, 2, 4)  # tdnn only: of each block's convolution over three frames
    num_heads: int = 4  # transformer only
    pos_conv_kernel: int = 63  # transformer only, frames
    dropout: float = 0.0  # of what enters the head and its blocks; fairseq's final_dropout

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.dim, self.num_layers, self.num_heads, self.pos_conv_kernel) < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(f"a head needs sizes >= 1 and dropout in 0..1, got {self}")
        if min(self.dilations, default=0) < 1:
            raise ConfigError(f"head.dilations={self.dilations}: one of at least 1 for each block")
        if self.dim % (2 * self.num_heads):
            raise ConfigError(f"head.dim={self.dim} must be a multiple of 2 * num_heads={self.num_heads}")


class FrameHead(nn.Module):
    """`states` runs the encoder as far as it is wanted; the call makes scores of them."""

    def __init__(self, config: Head, encoder: SpeechEncoder, num_symbols: int) -> None:
        super().__init__()
        if config.layer is not None and not 0 <= config.layer <= encoder.num_layers:
            raise ConfigError(f"head.layer={config.layer}: the encoder has layers 0..{encoder.num_layers}")
        self.config = config
        self.upto = encoder.num_layers if config.layer is None else config.layer
        self.weights = nn.Parameter(torch.zeros(self.upto + 1)) if config.weighted else None
        dim = encoder.dim if config.kind == "linear" else config.dim
        self.blocks = _blocks(config, encoder.dim)
        self.output = nn.Linear(dim, num_symbols)
        nn.init.xavier_uniform_(self.output.weight)  # as fairseq's
        nn.init.zeros_(self.output.bias)
        set_dropout(self, Dropout(residual=config.dropout, attention=config.dropout, layer=0.0))

    def states(self, encoder: SpeechEncoder, x: Tensor, frames: Tensor) -> list[Tensor]:
        """What the head looks at, each [B, T, C], from the front end's x [B, T, C]; frames [B]: real ones."""
        if self.config.layer is None and not self.config.weighted:
            return [encoder.finish(x, frames)]
        layers = encoder.context(x, frames, upto=self.upto)
        return layers if self.config.weighted else layers[-1:]

    def forward(self, states: Sequence[Tensor], frames: Tensor) -> Tensor:
        """Scores [B, T, V], float32 or wider, of what `states` gave; meaningless behind an utterance's end."""
        x = states[0]
        if self.weights is not None:
            shares = self.weights.softmax(0)
            x = sum((share * state for share, state in zip(shares, states, strict=True)), torch.zeros_like(x))
        x = F.dropout(x, self.config.dropout, self.training)
        scores = self.output(self.blocks(x, frames))
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def unused(self, encoder: SpeechEncoder) -> list[nn.Parameter]:
        """Parameters of the encoder that have no part in the scores: blocks above the layer, a final norm."""
        if self.config.layer is None and not self.config.weighted:
            return []
        modules = list(encoder.transformer.layers[self.upto :])
        if encoder.transformer.norm_first:
            modules.append(encoder.transformer.norm)
        return [parameter for module in modules for parameter in module.parameters()]


def _blocks(config: Head, dim: int) -> nn.Module:
    match config.kind:
        case "linear":
            return _Nothing()
        case "blstm":
            return _Recurrent(dim, config)
        case "tdnn":
            return _Convolving(dim, config)
        case _:
            return _Attending(dim, config)


class _Nothing(nn.Module):
    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        return x


class _Recurrent(nn.Module):
    """A bidirectional LSTM over real frames."""

    def __init__(self, dim: int, config: Head) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, config.dim // 2, config.num_layers, batch_first=True, bidirectional=True,
                            dropout=config.dropout if config.num_layers > 1 else 0.0)  # fmt: skip
        self.dim, self.dropout = config.dim, config.dropout

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        if not x.shape[1]:
            return x.new_zeros(*x.shape[:2], self.dim)
        packed = pack_padded_sequence(x, frames.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return F.dropout(y, self.dropout, self.training)


class _Convolving(nn.Module):
    """Dilated convolutions: cheap, and a context of their sum to either side."""

    def __init__(self, dim: int, config: Head) -> None:
        super().__init__()
        self.input = nn.Linear(dim, config.dim)
        self.blocks = DilatedBlocks(dim=config.dim, ffn_dim=2 * config.dim, kernel=3, dilations=config.dilations,
                                    norm_first=False, eps=1e-5)  # fmt: skip
        initialize(self)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        valid = valid_or_none(frames, x.shape[1])
        return self.blocks(zero_padding(self.input(x), valid), valid)


class _Attending(nn.Module):
    """Transformer blocks (post-norm) behind a convolutional positional embedding."""

    def __init__(self, dim: int, config: Head) -> None:
        super().__init__()
        self.input = nn.Linear(dim, config.dim)
        self.position = ConvPosition(config.dim, kernel=config.pos_conv_kernel, groups=config.num_heads)
        self.transformer = Transformer(dim=config.dim, ffn_dim=4 * config.dim, num_layers=config.num_layers,
                                       num_heads=config.num_heads)  # fmt: skip
        initialize(self)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        valid = valid_or_none(frames, x.shape[1])
        x = zero_padding(self.input(x), valid)
        return self.transformer(x + self.position(x, valid), valid)
