"""Multi-head self-attention over padded batches (arXiv:1706.03762) through PyTorch's fused kernels.

B utterances, T frames, C channels, H heads. Every attention module here or elsewhere takes
`(x [B, T, C], keys [B, T] | None, positions | None)`: `keys` is True at frames that may be attended to, `positions` is
whatever `Transformer.positions` gave for this batch, the same for all layers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Plain scaled dot-product attention; `positions` [.., T, T], where given, is added to the scores."""

    dropout = 0.0  # of the weights; see nn.dropout

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same."""
        return self.attend(x, score_bias(keys, positions))

    def attend(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Attention with a finished mask (bool, True = look) or score bias, broadcastable to [B, H, T, T]."""
        query, key, value = (split_heads(layer(x), self.num_heads) for layer in (self.query, self.key, self.value))
        return self.out(merge_heads(self.weigh(query, key, value, bias)))

    def weigh(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, scale: float | None = None
              ) -> Tensor:  # fmt: skip
        """The fused kernel on [B, H, T, C / H] each, with dropout where there is some."""
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout, scale=scale)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """[B, T, C] to [B, H, T, C / H]."""
    return x.unflatten(-1, (num_heads, x.shape[-1] // num_heads)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, H, T, C / H] to [B, T, C]."""
    return x.transpose(1, 2).flatten(2)


def score_bias(keys: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """A key mask [B, T] and an additive bias [.., T, T] as one argument for the kernel; None where there is neither."""
    if keys is None:
        return bias
    mask = keys[:, None, None, :]
    return mask if bias is None else torch.where(mask, bias, float("-inf"))
