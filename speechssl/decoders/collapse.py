"""Greedy decoding of CTC: the best symbol of every frame, repetitions and blanks taken out (Graves et al. 2006,
section 3.2, the map B). B utterances, T frames, V symbols."""

import torch
from torch import Tensor

from speechssl.nn.lengths import valid_mask


def best_path(scores: Tensor, frames: Tensor, blank: int) -> list[list[int]]:
    """Symbols of each utterance, from scores [B, T, V] and real frames [B]; one transfer from the device for all."""
    return collapse(scores.argmax(-1), frames, blank)


def collapse(ids: Tensor, frames: Tensor, blank: int) -> list[list[int]]:
    """The same of a symbol per frame, [B, T] int64."""
    kept = valid_mask(frames, ids.shape[1]) & (ids != blank)
    kept[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    found = torch.where(kept, ids, -1).tolist()
    return [[i for i in row if i >= 0] for row in found]
