"""Blocks in which dilated convolutions mix the frames instead of attention: a time-delay neural network (TDNN).

After Waibel et al., "Phoneme recognition using time-delay neural networks" (1989), with the residual branches of
today's transformers. Such a network sees a fixed stretch around each frame, `DilatedBlocks.reach` frames to either
side, costs the same per frame however long a recording is, and needs no positions.

B utterances, T frames, C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from speechssl.nn.lengths import zero_padding
from speechssl.nn.transformer import Transformer


class DilatedConv(nn.Module):
    """A convolution over `kernel` frames, `dilation` apart and centred, and GELU; called as `nn.attention`'s are."""

    def __init__(self, dim: int, *, kernel: int, dilation: int) -> None:
        super().__init__()
        self.reach = dilation * (kernel // 2)  # frames to either side
        self.conv = nn.Conv1d(dim, dim, kernel, dilation=dilation, padding=self.reach)

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same. Frames that are not `keys` [B, T] count as zeros, like those beyond either end."""
        return F.gelu(self.conv(zero_padding(x, keys).transpose(1, 2)).transpose(1, 2))

    @torch.no_grad()
    def draw_weights(self, generator: Generator | None = None) -> None:
        """New weights that keep the variance of the frames."""
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="linear", generator=generator)
        assert self.conv.bias is not None
        self.conv.bias.zero_()


class DilatedBlocks(Transformer):
    """A transformer's blocks with a `DilatedConv` where attention would be, one block per dilation."""

    def __init__(self, *, dim: int, ffn_dim: int, kernel: int, dilations: Sequence[int], norm_first: bool,
                 eps: float) -> None:  # fmt: skip
        convs = [DilatedConv(dim, kernel=kernel, dilation=dilation) for dilation in dilations]
        super().__init__(dim=dim, ffn_dim=ffn_dim, num_layers=len(convs), num_heads=1, norm_first=norm_first, eps=eps,
                         attention=iter(convs).__next__)  # fmt: skip
        self.reach = sum(conv.reach for conv in convs)
