"""Attention with rotary positions (arXiv:2104.09864) as fairseq's conformers have them.

differs from the paper: what is turned is the input of the queries' and keys' linear maps, in each head's share of the
channels, not what they give. So do fairseq, and transformers after it.

B utterances, T frames, C channels, H heads.
"""

import torch
from torch import Tensor

from speechssl.nn.attention import Attention, merge_heads, score_bias, split_heads


def rotations(num_frames: int, dim: int) -> Tensor:
    """[2, T, dim] float32: cosines and sines of a place times each frequency, for the two halves of `dim` channels."""
    rates = 1.0 / 10_000 ** (torch.arange(0, dim, 2).float() / dim)
    angles = (torch.arange(num_frames).unsqueeze(1) * rates).repeat(1, 2)
    return torch.stack([angles.cos(), angles.sin()])


class RotaryAttention(Attention):
    """Softmax of q k / root of C / H, where q and k see their frames turned by an angle that grows with the place."""

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same; `positions` [2, T, C / H]: `rotations`."""
        if positions is None:
            raise ValueError("RotaryAttention needs the angles of places, see rotations")
        heads = split_heads(x, self.num_heads)
        one, two = heads.chunk(2, -1)
        turned = merge_heads(heads * positions[0] + torch.cat([-two, one], -1) * positions[1])
        query, key, value = (split_heads(layer(y), self.num_heads)
                             for layer, y in ((self.query, turned), (self.key, turned), (self.value, x)))  # fmt: skip
        return self.out(merge_heads(self.weigh(query, key, value, score_bias(keys, None))))
