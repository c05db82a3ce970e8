"""ABX discriminability (Schatz et al., Interspeech 2013) of phones, for frames and for units.

x and a hold the same phone, b another one in the same context; an error is x nearer to b than to a, half of one where
both are as far. "within": all three by one speaker. "across": a and b by one speaker, x by another. As in the
ZeroSpeech challenges and Libri-light: errors of all triples of a cell (phones, context, speakers) are averaged, then
cells over contexts, then over speakers, then over ordered pairs of phones. Distances are in `abx_distance`.

Of a frame t the centre is at t / rate + centre_s; an item's frames are those whose centre it spans. Items of none are
left out and counted.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.abx_distance import Distance, all_pairs
from speechssl.metrics.abx_items import Item


@dataclass(frozen=True)
class AbxScores:
    """Error rates, 0..1; nan where no cell could be made."""

    within: float
    across: float
    cells_within: int
    cells_across: int
    items: int  # used
    without_frames: int  # items that span no frame


def abx(
    items: Iterable[Item], frames: Mapping[str, Tensor], *, rate_hz: float, centre_s: float = 0.0,
    distance: Distance = "angular", any_context: bool = False, max_items: int = 10, max_across: int = 5, seed: int = 0,
) -> AbxScores:  # fmt: skip
    """Errors over `items`, whose files' frames [T, C] are in `frames` (units as [T, 1] with distance="identical").

    any_context: contexts need not be the same. max_items: of one phone, context and speaker, drawn by `seed`
    (Libri-light: 10). max_across: other speakers x is taken from, per phone, context and speaker (Libri-light: 5).
    Raises DataError for a file that has no frames.
    """
    groups: dict[tuple[str, str], list[tuple[Item, Tensor]]] = defaultdict(list)
    empty = 0
    for item in items:
        if item.file not in frames:
            raise DataError(f"an item lies in {item.file!r}, of which there are no frames")
        stretch = _stretch(frames[item.file], item, rate_hz, centre_s)
        empty += not len(stretch)
        if len(stretch):
            groups[("", "") if any_context else item.context].append((item, stretch))
    random = np.random.default_rng(seed)
    within, across = _Cells(), _Cells()
    used = 0
    for context in sorted(groups):
        kept = _at_most(groups[context], max_items, random)
        if len({item.phone for item, _ in kept}) < 2:
            continue
        used += len(kept)
        distances = all_pairs([stretch for _, stretch in kept], distance).numpy()
        _score([item for item, _ in kept], distances, within, across, max_across, random)
    return AbxScores(within.error(), across.error(), within.count, across.count, used, empty)


def _stretch(frames: Tensor, item: Item, rate_hz: float, centre_s: float) -> Tensor:
    first, last = ((time - centre_s) * rate_hz for time in (item.onset_s, item.offset_s))
    return frames[max(0, math.ceil(first - 1e-6)) : max(0, math.ceil(last - 1e-6))]


def _at_most(found: Sequence[tuple[Item, Tensor]], most: int, random: np.random.Generator) -> list[tuple[Item, Tensor]]:
    """At most so many of each phone and speaker."""
    own: dict[tuple[str, str], list[tuple[Item, Tensor]]] = defaultdict(list)
    for item, stretch in found:
        own[item.phone, item.speaker].append((item, stretch))
    kept = []
    for key in sorted(own):
        rows = own[key]
        chosen = sorted(random.permutation(len(rows))[:most]) if len(rows) > most else range(len(rows))
        kept += [rows[int(i)] for i in chosen]
    return kept


class _Cells:
    """Errors of cells by ordered pair of phones and by speakers."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], dict[tuple[str, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
        self.count = 0

    def add(self, phones: tuple[str, str], speakers: tuple[str, ...], error: float) -> None:
        self._errors[phones][speakers].append(error)
        self.count += 1

    def error(self) -> float:
        pairs = [np.mean([np.mean(contexts) for contexts in own.values()]) for own in self._errors.values()]
        return float(np.mean(pairs)) if pairs else math.nan


def _score(
    items: Sequence[Item], distances: NDArray[np.float32], within: _Cells, across: _Cells, max_across: int,
    random: np.random.Generator,
) -> None:  # fmt: skip
    """All cells of one context."""
    rows: dict[tuple[str, str], NDArray[np.int64]] = {}
    for phone, speaker in sorted({(item.phone, item.speaker) for item in items}):
        rows[phone, speaker] = np.array([i for i, x in enumerate(items) if (x.phone, x.speaker) == (phone, speaker)])
    for (phone, speaker), a in rows.items():
        others = [(s, x) for (p, s), x in rows.items() if p == phone and s != speaker]
        if len(others) > max_across:
            others = [others[int(i)] for i in sorted(random.permutation(len(others))[:max_across])]
        for (other, other_speaker), b in rows.items():
            if other_speaker != speaker or other == phone:
                continue
            if len(a) > 1:
                within.add((phone, other), (speaker,), _within_error(distances, a, b))
            for x_speaker, x in others:
                error = _errors(distances[np.ix_(x, a)], distances[np.ix_(x, b)]).mean()
                across.add((phone, other), (speaker, x_speaker), float(error))


def _within_error(distances: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """x is each of a in turn, and never compared with itself."""
    errors = _errors(distances[np.ix_(a, a)], distances[np.ix_(a, b)])
    return float(errors[~np.eye(len(a), dtype=bool)].mean())


def _errors(to_a: NDArray[np.float32], to_b: NDArray[np.float32]) -> NDArray[np.float64]:
    """[X, A] mean over b of distances [X, A] and [X, B]: 1 where b is nearer, 0.5 where it is as near."""
    near, far = to_a[:, :, None], to_b[:, None, :]
    return ((far < near) + 0.5 * (far == near)).mean(-1)
