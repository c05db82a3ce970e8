"""Networks over frames that see the past only: what gives wav2vec, vq-wav2vec and CPC their context.

B utterances, T frames, C channels. What a real frame gives does not depend on the padding behind it; frames of padding
are finite and mean nothing.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.conv import Moments, TimeNorm


class CausalConvStack(nn.Module):
    """Convolutions over the past, each with a group norm of a single group and ReLU (arXiv:1904.05862, section 2.1).

    kernels: one per layer, at stride 1. skip: a layer's input is added to its output, the sum scaled by sqrt(0.5) as in
    the released code, which the papers' deep networks need. Before the beginning stands the first frame, or zeros.
    The norm makes the network causal but for an utterance's mean and variance.
    """

    def __init__(self, dim: int, kernels: Sequence[int], *, skip: bool = False, bias: bool = True,
                 zero_pad: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.skip, self.zero_pad = skip, zero_pad
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, kernel, bias=bias) for kernel in kernels)
        self.norms = nn.ModuleList(TimeNorm(dim, groups=1) for _ in kernels)

    @property
    def reach(self) -> int:
        """Frames of the past that a frame sees."""
        return sum(conv.kernel_size[0] - 1 for conv in self.convs)

    def forward(self, x: Tensor, lengths: Tensor | None = None, moments: Moments | None = None) -> Tensor:
        """x [B, T, C] to the same; lengths [B] are real frames (all by default). `moments`: one column per layer."""
        if not x.shape[1]:
            return x
        x = x.transpose(1, 2)
        mode = "constant" if self.zero_pad else "replicate"
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = conv(F.pad(x, (conv.kernel_size[0] - 1, 0), mode=mode))
            y = F.relu(norm(y, lengths, None if moments is None else moments.columns(i, i + 1)))
            x = (x + y) * math.sqrt(0.5) if self.skip else y
        return x.transpose(1, 2)


class Recurrent(nn.Module):
    """A GRU or LSTM from the beginning of each utterance on."""

    reach = 0  # frames of the past that it sees for certain; in truth all, ever more faintly

    def __init__(self, in_dim: int, dim: int, *, kind: Literal["gru", "lstm"], num_layers: int = 1) -> None:
        super().__init__()
        self.dim = dim
        self.cells = (nn.GRU if kind == "gru" else nn.LSTM)(in_dim, dim, num_layers, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor | None = None, moments: Moments | None = None) -> Tensor:
        """x [B, T, C_in] to [B, T, C]; the other arguments have no effect."""
        return self.cells(x)[0] if x.shape[1] else x.new_zeros(len(x), 0, self.dim)
