"""Greedy CTC decoding: the most likely symbol of each frame, repetitions merged, blanks left out.

T frames, V symbols, U symbols of the text.
"""

from dataclasses import dataclass

import numpy as np

from speechssl.decoders.ngram import FloatArray, IntArray


@dataclass(frozen=True)
class BestPath:
    """Symbols [U] and their frames: start[u] to end[u] - 1. score: log probability of this one alignment."""

    symbols: IntArray
    start: IntArray
    end: IntArray
    score: float


def best_path(log_probs: FloatArray, *, blank: int) -> BestPath:
    """Of log probabilities [T, V]; of equally likely symbols the one of the lowest number."""
    if not len(log_probs):
        none = np.zeros(0, np.int64)
        return BestPath(none, none, none, 0.0)
    ids = log_probs.argmax(1)
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    ends = np.append(starts[1:], len(ids))
    kept = ids[starts] != blank
    score = float(np.take_along_axis(log_probs, ids[:, None], 1).sum())
    return BestPath(ids[starts][kept], starts[kept], ends[kept], score)
