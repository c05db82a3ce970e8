"""Distractors for contrastive losses, drawn per utterance from its own seed. N frames of an utterance, K per frame."""

import numpy as np
import torch
from torch import Tensor


def draw_negatives(num_frames: int, count: int, seed: int) -> Tensor:
    """[N, K] int64: for each frame, indices of others, uniform with replacement, never its own. Needs two frames."""
    if num_frames < 2:
        raise ValueError(f"{num_frames} frame has no others to tell it from")
    drawn = np.random.default_rng(seed).integers(0, num_frames - 1, (num_frames, count))
    return torch.from_numpy(drawn + (drawn >= np.arange(num_frames)[:, None]))
