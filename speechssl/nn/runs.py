"""Runs of one unit in padded batches: what lies in frames, averaged over each run, and back to frames.

B utterances, T frames, N runs, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechssl.nn.lengths import zero_padding


@dataclass(frozen=True)
class Runs:
    """Deduplicated units, padded."""

    ids: Tensor  # [B, N] int64, 0 at padding
    durations: Tensor  # [B, N] int64 frames, 0 at padding
    places: Tensor  # [B, T] int64: the run of each frame
    frames: Tensor  # [B, T] True: real frames

    @property
    def valid(self) -> Tensor:
        """[B, N] True: real runs."""
        return self.durations > 0


def runs_of(ids: Tensor, valid: Tensor) -> Runs:
    """Of ids [B, T] with real frames valid [B, T], which are the first ones of each utterance."""
    starts = valid.clone()
    starts[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    places = (starts.cumsum(1) - 1).clamp_min(0)
    empty = ids.new_zeros(len(ids), max(1, int(starts.sum(1).max())))
    return Runs(empty.scatter_add(1, places, ids * starts), empty.scatter_add(1, places, valid.to(ids)), places, valid)


def averages(values: Tensor, runs: Runs, weights: Tensor | None = None) -> Tensor:
    """Means [B, N, C] over each run's frames of values [B, T, C], weighted by weights [B, T]; 0 where these are 0."""
    own = runs.frames.to(values) if weights is None else zero_padding(weights, runs.frames).to(values)
    empty = values.new_zeros(*runs.ids.shape, values.shape[2] + 1)
    whole = torch.cat([zero_padding(values, runs.frames) * own.unsqueeze(2), own.unsqueeze(2)], 2)
    sums = empty.scatter_add(1, runs.places.unsqueeze(2).expand(-1, -1, whole.shape[2]), whole)
    return sums[..., :-1] / torch.where(sums[..., -1:] > 0, sums[..., -1:], torch.ones_like(sums[..., -1:]))


def over_frames(values: Tensor, runs: Runs) -> Tensor:
    """values [B, N, C] of each run for all its frames [B, T, C], 0 at padding."""
    wide = runs.places.unsqueeze(2).expand(-1, -1, values.shape[2])
    return zero_padding(values.gather(1, wide), runs.frames)
