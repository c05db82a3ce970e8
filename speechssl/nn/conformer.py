"""Conformer blocks (arXiv:2005.08100): attention and a convolution between two half feed-forward networks.

differs: the convolution's norm may be a layer norm over channels ("layer", the default) in place of the paper's batch
norm, so that what an utterance gives does not depend on its neighbours in training either. Padded frames enter the
convolution as zeros, and a batch or group norm sees real frames only; other implementations include the padding.

B utterances, T frames, C channels. `keys` [B, T] is True at real frames.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.attention import Attention
from speechssl.nn.conv import TimeNorm
from speechssl.nn.lengths import zero_padding
from speechssl.nn.relative_attention import RelativeAttention, relative_sinusoids
from speechssl.nn.rotary_attention import RotaryAttention, rotations
from speechssl.nn.transformer import FeedForward, Transformer

Norm = Literal["layer", "batch", "group"]


class ConvModule(nn.Module):
    """Pointwise convolution and GLU, a depthwise convolution over `kernel` frames, norm, swish, pointwise convolution.

    bias: of the three convolutions (torchaudio has it, the paper's other implementations do not).
    """

    def __init__(self, dim: int, *, kernel: int, norm: Norm = "layer", bias: bool = True) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"a conformer's convolution needs an odd kernel, got {kernel}")
        self.up = nn.Linear(dim, 2 * dim, bias=bias)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=bias)
        self.norm: nn.Module
        match norm:
            case "layer":
                self.norm = nn.LayerNorm(dim)
            case "batch":
                self.norm = nn.BatchNorm1d(dim)
            case _:
                self.norm = TimeNorm(dim, groups=1)
        self.down = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same."""
        x = zero_padding(F.glu(self.up(x), -1), keys)
        return self.down(F.silu(self._normalize(self.depthwise(x.transpose(1, 2)), keys)))

    def _normalize(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """x [B, C, T] to [B, T, C]."""
        match self.norm:
            case TimeNorm():
                return self.norm(x, None if keys is None else keys.sum(1)).transpose(1, 2)
            case nn.BatchNorm1d():
                return _batch_norm(self.norm, x.transpose(1, 2), keys)
            case _:
                return self.norm(x.transpose(1, 2))


def _batch_norm(norm: nn.BatchNorm1d, x: Tensor, keys: Tensor | None) -> Tensor:
    """x [B, T, C] by statistics of the real frames; by the running ones where a single frame has no variance."""
    if not norm.training:
        return norm(x.transpose(1, 2)).transpose(1, 2)
    frames = x.flatten(0, 1) if keys is None else x[keys]
    if len(frames) < 2:
        return F.batch_norm(x.transpose(1, 2), norm.running_mean, norm.running_var, norm.weight, norm.bias,
                            eps=norm.eps).transpose(1, 2)  # fmt: skip
    y = norm(frames)
    return y.view_as(x) if keys is None else torch.zeros_like(x).masked_scatter(keys.unsqueeze(-1), y)


class ConformerBlock(nn.Module):
    """x + ½ FFN, + attention, + convolution, + ½ FFN, layer norm (eq. 1 of arXiv:2005.08100).

    Called as `nn.transformer.Block` is. conv_first: the convolution comes before the attention, as in torchaudio.
    """

    dropout = 0.0  # of what each branch adds; see nn.dropout

    def __init__(
        self, attention: nn.Module, *, dim: int, ffn_dim: int, kernel: int, norm: Norm = "layer", bias: bool = True,
        conv_first: bool = False, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv_first = conv_first
        self.first_norm, self.first = nn.LayerNorm(dim, eps=eps), FeedForward(dim, ffn_dim, F.silu)
        self.attention_norm, self.attention = nn.LayerNorm(dim, eps=eps), attention
        self.conv_norm, self.conv = nn.LayerNorm(dim, eps=eps), ConvModule(dim, kernel=kernel, norm=norm, bias=bias)
        self.second_norm, self.second = nn.LayerNorm(dim, eps=eps), FeedForward(dim, ffn_dim, F.silu)
        self.norm = nn.LayerNorm(dim, eps=eps)

    def forward(
        self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None,
        branches: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """[B, T, C] to the same; what the second feed-forward network gives is appended to `branches`."""
        x = x + self._drop(0.5 * self.first(self.first_norm(x)))
        if self.conv_first:
            x = x + self._drop(self.conv(self.conv_norm(x), keys))
        x = x + self._drop(self.attention(self.attention_norm(x), keys, positions))
        if not self.conv_first:
            x = x + self._drop(self.conv(self.conv_norm(x), keys))
        y = self.second(self.second_norm(x))
        if branches is not None:
            branches.append(y)
        return self.norm(x + self._drop(0.5 * y))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Conformer(Transformer):
    """A stack of conformer blocks. relative, rotary: positions; without any, the order is the convolutions' alone.

    outer_norm: a layer norm after the last block, although each block ends with one (wav2vec 2.0 conformers have it).
    """

    def __init__(
        self, *, dim: int, ffn_dim: int, num_layers: int, num_heads: int, kernel: int = 31, norm: Norm = "layer",
        bias: bool = True, relative: bool = True, rotary: bool = False, conv_first: bool = False,
        outer_norm: bool = False, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        if relative and rotary:
            raise ConfigError("a conformer's positions are relative or rotary, not both")
        if rotary and dim // num_heads % 2:
            raise ConfigError(f"rotary positions need heads of an even number of channels, got {dim} / {num_heads}")
        super().__init__(dim=dim, ffn_dim=ffn_dim, num_layers=0, num_heads=num_heads, norm_first=True, eps=eps,
                         norm=outer_norm)  # fmt: skip
        make = RelativeAttention if relative else RotaryAttention if rotary else Attention
        self.relative, self.rotary, self.dim = relative, rotary, dim
        self.layers = nn.ModuleList(
            ConformerBlock(make(dim, num_heads), dim=dim, ffn_dim=ffn_dim, kernel=kernel, norm=norm, bias=bias,
                           conv_first=conv_first, eps=eps)
            for _ in range(num_layers)
        )  # fmt: skip

    def positions(self, num_frames: int) -> Tensor | None:
        """The embeddings of distances [2 T - 1, C], or rotations [2, T, C / H]."""
        if not len(self.layers):
            return None
        attention = self.layers[0].attention
        if self.rotary:
            return rotations(num_frames, self.dim // attention.num_heads).to(attention.query.weight)
        return relative_sinusoids(num_frames, self.dim).to(attention.query.weight) if self.relative else None
