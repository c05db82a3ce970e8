"""ABX discriminability (Schatz et al., Interspeech 2013) of phones, for frames and for units.

x and a hold the same phone, b another one in the same context as a; an error is x nearer to b than to a, half of one
where both are as far. "within": all three by one speaker. "across": a and b by one speaker, x by another.
Errors of all triples of a cell (phones, context, speakers) are averaged, then cells over contexts (across speakers:
over contexts and speakers of x at once), then over speakers of a, then over ordered pairs of phones, as in the
ZeroSpeech challenges, Libri-light and fastabx. Distances are in `abx_distance`.

Of a frame t the centre is at t / rate + centre_s; an item's frames are those whose centre it spans. Items of none are
left out and counted.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.abx_cells import Group, Token, groups_across_contexts, groups_within_contexts
from speechssl.metrics.abx_distance import Block, Distance, block_distances
from speechssl.metrics.abx_items import Item

Context = Literal["within", "any", "across"]


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
    distance: Distance = "angular", context: Context = "within", max_items: int = 10, max_across: int = 5,
    pool_x_speakers: bool = True, seed: int = 0,
) -> AbxScores:  # fmt: skip
    """Errors over `items`, whose files' frames [T, D] are in `frames` (units as [T, 1], or [T, codebooks]).

    context: "within": a, b and x in one context; "any": contexts do not matter; "across": x in another one than a and
    b. max_items: of one phone, context and speaker, drawn by `seed` (Libri-light: 10). max_across: other speakers x is
    taken from, per phone, context and speaker (Libri-light: 5), and other contexts. pool_x_speakers: across speakers,
    average over contexts and speakers of x at once, as Libri-light, or else over contexts first, then over pairs of
    speakers (the default before this was an argument).
    Raises DataError for a file that has no frames, or some that are not finite.
    """
    if context not in ("within", "any", "across"):
        raise DataError(f"context={context!r}: choose within, any or across")
    contexts, empty = _by_context(items, frames, rate_hz, centre_s, any_context=context == "any")
    make = groups_across_contexts if context == "across" else groups_within_contexts
    groups = list(make(contexts, max_items, max_across, np.random.default_rng(seed)))
    within, across = _Cells(), _Cells()
    for group, distances in zip(groups, block_distances(map(_block, groups), distance), strict=True):
        if group.symmetric:
            distances = np.fmax(distances, distances.T)  # only one of the two was wanted, the other is nan
        for cells in group.cells:
            one_speaker = cells.speaker == cells.x_speaker
            speakers = (cells.speaker,) if pool_x_speakers else (cells.speaker, cells.x_speaker)
            (within if one_speaker else across).add(cells.phone, speakers, cells.errors(distances))
    used = len({id(token) for group in groups for token in (*group.rows, *group.columns)})
    return AbxScores(within.error(), across.error(), within.count, across.count, used, empty)


def _by_context(
    items: Iterable[Item], frames: Mapping[str, Tensor], rate_hz: float, centre_s: float, *, any_context: bool
) -> tuple[dict[tuple[str, str], list[Token]], int]:
    """Items and their frames, and how many have none."""
    found: dict[tuple[str, str], list[Token]] = defaultdict(list)
    empty, seen = 0, set()
    for item in items:
        if item.file not in frames:
            raise DataError(f"an item lies in {item.file!r}, of which there are no frames")
        if item.file not in seen and not bool(frames[item.file].isfinite().all()):
            raise DataError(f"frames of {item.file!r} are not all finite")
        seen.add(item.file)
        stretch = _stretch(frames[item.file], item, rate_hz, centre_s)
        empty += not len(stretch)
        if len(stretch):
            found[("", "") if any_context else item.context].append(Token(item, stretch))
    return found, empty


def _stretch(frames: Tensor, item: Item, rate_hz: float, centre_s: float) -> Tensor:
    first, last = ((time - centre_s) * rate_hz for time in (item.onset_s, item.offset_s))
    return frames[max(0, math.ceil(first - 1e-6)) : max(0, math.ceil(last - 1e-6))]


def _block(group: Group) -> Block:
    rows = [token.frames for token in group.rows]
    return Block(rows, rows if group.symmetric else [token.frames for token in group.columns], group.wanted())


class _Cells:
    """Errors of cells by ordered pair of phones and by speakers."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], dict[tuple[str, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
        self.count = 0

    def add(self, phone: str, speakers: tuple[str, ...], errors: Mapping[str, float]) -> None:
        for other, error in errors.items():
            self._errors[phone, other][speakers].append(error)
        self.count += len(errors)

    def error(self) -> float:
        pairs = [np.mean([np.mean(contexts) for contexts in own.values()]) for own in self._errors.values()]
        return float(np.mean(pairs)) if pairs else math.nan
