"""Where a known text lies in speech: the most likely CTC alignment, and how sure the model is of each symbol.

States of a text are blank, symbol, blank, ..., symbol, blank (Graves et al. 2006, section 4.1); from frame to frame a
path stays, goes one on, or skips the blank between two different symbols. torchaudio's forced_align finds the same
paths; it is deprecated, and torchaudio is no dependency.
T frames, V symbols, U symbols of the text, S = 2 U + 1 states.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl.decoders.ngram import FloatArray, IntArray
from speechssl.errors import DataError

MOST_CELLS = 1 << 27  # frames times states: 1 GiB


@dataclass(frozen=True)
class Alignment:
    """The best path: symbol u of the text takes frames start[u] to end[u] - 1."""

    start: IntArray  # [U]
    end: IntArray  # [U]
    score: float  # log probability of the path


def align(log_probs: FloatArray, symbols: Sequence[int], *, blank: int) -> Alignment:
    """The most likely alignment of symbols [U] with log probabilities [T, V].

    Raises DataError where none is possible: fewer frames than symbols and blanks between equal neighbours, or symbols
    of probability 0; and for more than MOST_CELLS at once.
    """
    emissions, skips = _lattice(log_probs, symbols, blank)
    scores = _forward(emissions, skips, np.maximum)
    num_frames, num_states = emissions.shape
    if not num_frames:
        return Alignment(np.zeros(0, np.int64), np.zeros(0, np.int64), 0.0)
    state = num_states - 1 if num_states == 1 or scores[-1, -1] >= scores[-1, -2] else num_states - 2
    path = np.zeros(num_frames, np.int64)
    path[-1] = state
    for t in range(num_frames - 2, -1, -1):
        row = scores[t]  # two columns before state 0
        best, value = state, row[state + 2]
        if row[state + 1] > value:
            best, value = state - 1, row[state + 1]
        if skips[state] == 0.0 and row[state] > value:
            best = state - 2
        path[t] = state = best
    places = np.arange(1, num_states, 2)
    start, end = np.searchsorted(path, places), np.searchsorted(path, places, side="right")
    return Alignment(start, end, float(max(scores[-1, -1], scores[-1, -2])))


def confidences(log_probs: FloatArray, symbols: Sequence[int], *, blank: int) -> FloatArray:
    """How sure the model is of each symbol [U]: its probability, averaged over frames.

    Each frame weighs as much as the posterior probability, over all alignments of the text, that the symbol lies there:
    sum_t g(t, u) p(t, u) / sum_t g(t, u). Between 0 and 1. Raises DataError as `align` does.
    """
    emissions, skips = _lattice(log_probs, symbols, blank)
    ahead = _forward(emissions, skips, np.logaddexp)[:, 3::2]
    turned = np.full_like(skips, -np.inf)
    turned[2:] = skips[2:][::-1]  # a skip from s - 2 to s, seen from the other end
    behind = _forward(emissions[::-1, ::-1], turned, np.logaddexp)[::-1, 2:][:, ::-1][:, 1::2]
    own = emissions[:, 1::2]
    with np.errstate(invalid="ignore"):
        weights = np.where(own > -np.inf, ahead + behind - own, -np.inf)
    weights = np.exp(weights - weights.max(0, initial=-np.inf))
    return np.asarray((weights * np.exp(own)).sum(0) / weights.sum(0))


def _lattice(log_probs: FloatArray, symbols: Sequence[int], blank: int) -> tuple[FloatArray, FloatArray]:
    """Log probabilities [T, S] of the states; 0 [S] where the one two before may be skipped from, elsewhere -inf."""
    wanted = np.asarray(symbols, np.int64)
    num_frames, num_symbols = len(log_probs), len(wanted)
    if num_symbols and (wanted.min() < 0 or wanted.max() >= log_probs.shape[1] or (wanted == blank).any()):
        raise DataError(f"symbols to align must be 0..{log_probs.shape[1] - 1} without the blank, {blank}")
    needed = num_symbols + int((wanted[1:] == wanted[:-1]).sum())
    if num_frames < needed:
        raise DataError(f"a text of {num_symbols} symbols needs {needed} frames at least, there are {num_frames}")
    if num_frames * (2 * num_symbols + 1) > MOST_CELLS:
        raise DataError(f"{num_frames} frames and {num_symbols} symbols are too much to align at once: cut the speech")
    states = np.full(2 * num_symbols + 1, blank)
    states[1::2] = wanted
    skips = np.full(len(states), -np.inf)
    skips[3::2] = np.where(wanted[1:] != wanted[:-1], 0.0, -np.inf)
    return np.asarray(log_probs, np.float64)[:, states], skips


def _forward(emissions: FloatArray, skips: FloatArray, join: Callable[..., Any]) -> FloatArray:
    """Best (join: maximum) or summed (logaddexp) paths [T, 2 + S] up to each frame and state, behind two of -inf."""
    num_frames, num_states = emissions.shape
    scores = np.full((num_frames, num_states + 2), -np.inf)
    scores[:1, 2:4] = emissions[:1, :2]
    skipped: NDArray[np.float64] = np.empty(num_states)
    for before, now, emission in zip(scores, scores[1:], emissions[1:], strict=False):
        target = now[2:]
        join(before[2:], before[1:-1], out=target)
        np.add(before[:-2], skips, out=skipped)
        join(target, skipped, out=target)
        target += emission
    if num_frames and not max(scores[-1, -1], scores[-1, -2]) > -np.inf:
        raise DataError("no alignment of the text is possible: one of its symbols has probability 0 where it is due")
    return scores
