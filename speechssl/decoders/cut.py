"""Long recordings in parts, so that times of words take bounded memory: cut where nobody speaks.

T frames, V symbols.
"""

import numpy as np

from speechssl.decoders.ngram import FloatArray

LONGEST = 3000  # frames of a part, a minute at 50 a second


def parts(log_probs: FloatArray, *, blank: int, longest: int = LONGEST) -> list[tuple[int, int]]:
    """First frame, and one past the last, of each part of log probabilities [T, V]; none is longer than `longest`.

    Each cut is in the middle of the longest run of frames whose best symbol is the blank, looked for in the second
    half of what is left of a part; where there is no blank, at the end of it, through the word that is being said.
    """
    found, first = [], 0
    while len(log_probs) - first > longest:
        begin = first + longest // 2
        silent = log_probs[begin : first + longest].argmax(1) == blank
        edges = np.flatnonzero(np.diff(silent, prepend=False, append=False))
        starts, ends = edges[::2], edges[1::2]
        last = first + longest
        if len(starts):
            run = int((ends - starts).argmax())
            last = begin + int(starts[run] + ends[run]) // 2
        found.append((first, last))
        first = last
    return [*found, (first, len(log_probs))]
