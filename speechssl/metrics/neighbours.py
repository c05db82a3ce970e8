"""k nearest neighbours by edit distance: how much of a label lies in the order of units.

The Levenshtein distance between deduplicated units, over the length of the longer one where normalised (0: the same, 1:
nothing in common), as arXiv:2511.10190 classifies animals' calls and callers. Nothing is learned: this asks what
sequences of units hold as they are, where a probe of pooled frames forgets all order.

Ties do not depend on the order of the training utterances. All that are as near as the k-th share the places left after
the nearer ones evenly. Of labels with equally many votes the one whose nearest neighbour is nearer wins, then the one
that comes first.

M utterances asked about, N known ones, V labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

_BLOCK = 256  # utterances asked about at once: memory is _BLOCK x N distances
_UNITS_OF_TEXT = 0x110000  # characters there are

Units = Sequence[NDArray[np.integer]]


def nearest_labels(
    units: Units, known: Units, labels: Sequence[int], *, k: int = 5, normalised: bool = True, workers: int = 1,
    groups: tuple[Sequence[object], Sequence[object]] | None = None,
) -> list[int]:  # fmt: skip
    """The label that the k nearest of `known` give to each of `units`, [M] of labels [N] (0..V-1).

    groups: (M and N names) those known of its own group do not count for an utterance: with ids that is leave one out.
    workers: threads. Raises DataError where fewer than k are known, or too few outside an utterance's group.
    """
    numbers = np.asarray(labels, np.int64)
    if len(numbers) != len(known) or k < 1 or len(known) < k:
        raise DataError(
            f"{k} neighbours of {len(known)} utterances with {len(numbers)} labels: needs at least {max(k, 1)}"
        )
    order = np.argsort(numbers, kind="stable")  # so that every label is one stretch
    numbers = numbers[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    references = [_text(known[i]) for i in order]
    own, others = groups if groups is not None else ([None] * len(units), [])
    members: dict[object, list[int]] = {}
    for place, i in enumerate(order) if groups else ():
        members.setdefault(others[i], []).append(place)
    said: list[int] = []
    for begin in range(0, len(units), _BLOCK):
        block = [_text(x) for x in units[begin : begin + _BLOCK]]
        found = distances(block, references, normalised=normalised, workers=workers)
        if groups:
            for row, name in zip(found, own[begin : begin + _BLOCK], strict=True):
                row[members.get(name, [])] = np.inf
        said += numbers[starts][_votes(found, starts, k)].tolist()
    return said


def distances(
    one: Sequence[str], other: Sequence[str], *, normalised: bool = True, workers: int = 1
) -> NDArray[np.float64]:
    """[M, N] Levenshtein distances between texts, over the longer length where `normalised` (0 of two empty ones)."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    scorer = Levenshtein.normalized_distance if normalised else Levenshtein.distance
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)))
    return np.asarray(cdist(one, other, scorer=scorer, dtype=np.float64, workers=workers))


def _votes(found: NDArray[np.float64], starts: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """For each row of distances the stretch of columns (one label, beginning at `starts`) that wins."""
    last = np.partition(found, k - 1, axis=1)[:, k - 1 : k]
    if not np.isfinite(last).all():
        raise DataError(f"an utterance has fewer than {k} neighbours outside its own group: take a smaller k")
    nearer, level = found < last, found == last
    places = k - nearer.sum(1, keepdims=True)
    votes = nearer * level.sum(1, keepdims=True) + level * places  # times the number that share: whole numbers
    votes = np.add.reduceat(votes, starts, axis=1)
    nearest = np.where(votes == votes.max(1, keepdims=True), np.minimum.reduceat(found, starts, axis=1), np.inf)
    return nearest.argmin(1)


def _text(units: NDArray[np.integer]) -> str:
    """One character for each unit, which is how distances are computed soonest."""
    if len(units) and not 0 <= int(units.min()) <= int(units.max()) < _UNITS_OF_TEXT:
        raise DataError(f"units must be 0..{_UNITS_OF_TEXT - 1}, got {int(units.min())} to {int(units.max())}")
    return "".join(map(chr, units.tolist()))
