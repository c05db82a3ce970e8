"""Distractors for contrastive losses, drawn per utterance from its own seed. N frames of an utterance, K per frame."""

import numpy as np
import torch
from torch import Tensor


def draw_negatives(num_frames: int, count: int, seed: int, *, pool: int | None = None, start: int = 0) -> Tensor:
    """[N, K] int64: for each frame, indices of others, uniform with replacement, never its own. Needs two frames.

    pool: the frames to draw from where they are more than the utterance's own, which begin at number `start` of them.
    """
    pool = num_frames if pool is None else pool
    if pool < 2:
        raise ValueError(f"{pool} frame has no others to tell it from")
    drawn = np.random.default_rng(seed).integers(0, pool - 1, (num_frames, count))
    return torch.from_numpy(drawn + (drawn >= start + np.arange(num_frames)[:, None]))


def future_scores(
    predicted: Tensor, pool: Tensor, negatives: Tensor | None, *, step: int, start: int = 0
) -> tuple[Tensor, Tensor]:
    """Dot products of the predictions made at each frame for `step` frames later, with what came and with distractors.

    predicted [N, D]; pool [P, D] are the frames to compare with, of which the utterance's own begin at `start`;
    negatives [N, K]: for each frame of the utterance, its distractors among the pool. Gives scores of the true ones
    [N - step] and of distractors [N - step, K]; without `negatives`, of the whole pool [N - step, P], the true ones
    included.
    """
    made = max(0, len(predicted) - step)
    scores = predicted[:made] @ pool.T
    places = torch.arange(start + step, start + step + made, device=pool.device)
    true = scores.gather(1, places.unsqueeze(1)).squeeze(1)
    return true, scores if negatives is None else scores.gather(1, negatives[step:])


def all_future_scores(
    predicted: Tensor, pool: Tensor, negatives: Tensor, *, first: int, start: int = 0
) -> tuple[Tensor, Tensor]:
    """As `future_scores` for the steps first, first + 1, ... at once: fewer, larger products.

    predicted [N, S, D]: of each frame, one prediction for each of S steps. Gives the scores of all pairs of a frame and
    a step whose future is known, step by step: true ones [M] and distractors [M, K].
    """
    num_frames, steps, _ = predicted.shape
    scores = torch.einsum("nsd,pd->snp", predicted, pool)
    target = torch.arange(num_frames) + first + torch.arange(steps).unsqueeze(1)  # [S, N], on the CPU: no waiting
    known = (target < num_frames).nonzero(as_tuple=True)
    step, frame, target = (x.to(pool.device) for x in (*known, target[known]))
    rows = scores[step, frame]
    return rows.gather(1, (start + target).unsqueeze(1)).squeeze(1), rows.gather(1, negatives[target])
