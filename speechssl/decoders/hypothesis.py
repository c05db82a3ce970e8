"""What a decoder says of an utterance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Word:
    """start_s, end_s: of the frames of its symbols on the best alignment, so a peaky model's words look short.

    confidence: the geometric mean of those of its symbols, see `alignment.confidences`; 0 to 1, not calibrated.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Hypothesis:
    """One of the n best. score = acoustic + language, natural logarithms.

    acoustic: log probability of the symbols given the speech, summed over alignments (greedy: of the best one).
    posterior: its share in the exponentiated scores of everything in the beam at the end; 1 for greedy.
    """

    text: str
    symbols: tuple[int, ...]
    words: tuple[Word, ...]  # empty where no times were asked for
    score: float
    acoustic: float
    language: float
    posterior: float


def by_text(texts: Sequence[str], scores: Sequence[float]) -> dict[str, tuple[int, float]]:
    """Each text once, of candidates that come best first: the place of its best one, and its posterior."""
    shares = np.exp([score - scores[0] for score in scores])
    found: dict[str, tuple[int, float]] = {}
    for place, (text, share) in enumerate(zip(texts, shares / shares.sum(), strict=True)):
        first, before = found.get(text, (place, 0.0))
        found[text] = (first, before + float(share))
    return found
