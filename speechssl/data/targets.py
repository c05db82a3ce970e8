"""Texts of a corpus as numbers, one sequence per utterance: what a recogniser learns to write.

How a text becomes numbers is the caller's (`encode`), since a vocabulary knows more than a corpus does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Targets:
    """Targets of all utterances in one array, in the order of the corpus; an utterance without has none."""

    values: np.ndarray  # int32
    starts: np.ndarray  # [N + 1] int64: utterance i has values[starts[i] : starts[i + 1]]

    def of(self, row: int) -> np.ndarray:
        """The targets of an utterance."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    def padded(self, rows: np.ndarray) -> torch.Tensor:
        """Those of several utterances, [B, L] int64, -1 behind their ends."""
        found = [torch.from_numpy(self.of(row).astype(np.int64)) for row in rows.tolist()]
        return pad_sequence(found, batch_first=True, padding_value=-1)

    @classmethod
    def join(cls, parts: Sequence[Sequence[int] | np.ndarray]) -> "Targets":
        """Of one sequence per utterance; an empty one is none."""
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return cls(np.concatenate([np.zeros(0, np.int32), *(np.asarray(part, np.int32) for part in parts)]), starts)


def needed_frames(ids: Sequence[int]) -> int:
    """The least frames with which CTC can write `ids`: one each, and a blank between two that are equal."""
    return len(ids) + sum(one == other for one, other in pairwise(ids))


def make_targets(
    utterances: Sequence[Utterance], seconds: np.ndarray, encode: Encode, *, rate_hz: float, longest_s: float
) -> tuple[Targets, list[tuple[int, str]]]:
    """Targets, and the rows (with reasons) that have none: no text, a text that `encode` refuses with DataError, audio
    shorter than its text at rate_hz frames a second, or longer than longest_s, of which the text would be no more true.

    seconds [N]: of the utterances; those of 0 s are passed over.
    """
    parts: list[Sequence[int]] = []
    failures = []
    for row, utterance in enumerate(utterances):
        ids: Sequence[int] = ()
        reason = ""
        if seconds[row] > 0:
            try:
                ids = encode(utterance.text or "")
            except DataError as error:
                reason = str(error)
            else:
                needed = needed_frames(ids)
                if not ids:
                    reason = "no text"
                elif seconds[row] * rate_hz < needed:
                    reason = f"{seconds[row]:.2f} s are too short for its text, which needs {needed} frames"
                elif seconds[row] > longest_s:
                    reason = f"{seconds[row]:.2f} s are longer than crop_s={longest_s:g}, and a text cannot be cropped"
        if reason:
            failures.append((row, reason))
        parts.append(() if reason else ids)
    return Targets.join(parts), failures
