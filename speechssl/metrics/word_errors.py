"""Word and character error rates: (substitutions + deletions + insertions) / reference.

Counts are those of one alignment with the fewest edits (rapidfuzz's). A rate over utterances divides sums. An empty
reference adds its insertions to the errors and nothing to the length; where all are empty the rate is undefined.
How sure a rate is: `metrics.bootstrap`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EditCounts:
    """Of an utterance, or summed over some."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference(self) -> int:
        """Words (characters) of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over reference; may be above 1. nan where the reference is empty."""
        return self.errors / self.reference if self.reference else math.nan

    def __add__(self, other: "EditCounts") -> "EditCounts":
        return EditCounts(self.hits + other.hits, self.substitutions + other.substitutions,
                          self.deletions + other.deletions, self.insertions + other.insertions)  # fmt: skip


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> EditCounts:
    """Of words in lists, or of the characters of strings."""
    from rapidfuzz.distance import Levenshtein

    tags = [edit.tag for edit in Levenshtein.editops(reference, hypothesis)]
    replaced, deleted = tags.count("replace"), tags.count("delete")
    return EditCounts(len(reference) - replaced - deleted, replaced, deleted, len(tags) - replaced - deleted)


def align_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of words that face each other, "" where one side has none."""
    from rapidfuzz.distance import Levenshtein

    pairs: list[tuple[str, str]] = []
    for step in Levenshtein.opcodes(reference, hypothesis):
        ours, theirs = reference[step.src_start : step.src_end], hypothesis[step.dest_start : step.dest_end]
        if step.tag in ("equal", "replace"):
            pairs += zip(ours, theirs, strict=True)
        else:
            pairs += [(word, "") for word in ours] + [("", word) for word in theirs]
    return pairs
