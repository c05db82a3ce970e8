"""What a decoder says of an utterance."""

from dataclasses import dataclass


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
