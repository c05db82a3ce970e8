"""Which items an ABX test compares: cells, and the groups of items among which their distances are.

A cell is a set of x, one of a and one of b. Cells of one x and a and many b are kept together.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speechssl.metrics.abx_items import Item

T = TypeVar("T")
Contexts = Mapping[tuple[str, str], Sequence["Token"]]
_AT_ONCE = 4_000_000  # comparisons


@dataclass(frozen=True, eq=False)
class Token:
    """An item and its frames [T, D]."""

    item: Item
    frames: Tensor


@dataclass(frozen=True)
class Cells:
    """Cells with the same x and a, by the numbers of their tokens in a group: x among its rows, a and b its columns."""

    phone: str  # of a and x
    speaker: str  # of a and b
    x_speaker: str
    a: NDArray[np.int64]
    x: NDArray[np.int64]
    b: dict[str, NDArray[np.int64]]  # by phone
    same: bool = False  # x are the a; none is compared with itself

    def errors(self, distances: NDArray[np.float32]) -> dict[str, float]:
        """Mean error over all triples by the phone of b, from distances [R, C]."""
        to_a = distances[np.ix_(self.x, self.a)]
        to_b = distances[np.ix_(self.x, np.concatenate(list(self.b.values())))]
        num_triples = to_a.size - (len(self.a) if self.same else 0)
        if self.same:
            np.fill_diagonal(to_a, -np.inf)
        twice = np.zeros(to_b.shape[1], np.int64)
        step = max(1, _AT_ONCE // (to_a.shape[1] * to_b.shape[1]))
        for k in range(0, len(to_a), step):
            near, far = to_a[k : k + step, :, None], to_b[k : k + step, None, :]
            twice += (far < near).sum((0, 1)) + (far <= near).sum((0, 1))
        sizes = np.array([len(own) for own in self.b.values()])
        errors = np.add.reduceat(twice, sizes.cumsum() - sizes) / (2 * num_triples * sizes)
        return dict(zip(self.b, errors.tolist(), strict=True))


@dataclass(frozen=True)
class Group:
    """Cells among `rows` and `columns`; where these are the same tokens, a distance is taken once for both orders."""

    rows: Sequence[Token]
    columns: Sequence[Token]
    cells: Sequence[Cells]

    @property
    def symmetric(self) -> bool:
        """Rows are the columns."""
        return self.rows is self.columns

    def wanted(self) -> NDArray[np.bool_]:
        """[R, C]: of which pairs the distance is needed."""
        found = np.zeros((len(self.rows), len(self.columns)), np.bool_)
        for cells in self.cells:
            found[np.ix_(cells.x, np.concatenate([cells.a, *cells.b.values()]))] = True
        return np.triu(found | found.T, 1) if self.symmetric else found


def groups_within_contexts(
    contexts: Contexts, max_items: int, max_across: int, random: np.random.Generator
) -> Iterator[Group]:
    """a, b and x in one context: a group for each, of those with two phones."""
    for context in sorted(contexts):
        kept = _at_most(contexts[context], max_items, random)
        if len({token.item.phone for token in kept}) < 2:
            continue
        rows = _numbers(kept)
        cells = []
        for (phone, speaker), a in rows.items():
            others = _draw([s for p, s in rows if p == phone and s != speaker], max_across, random)
            b = {p: own for (p, s), own in rows.items() if s == speaker and p != phone}
            if b and len(a) > 1:
                cells.append(Cells(phone, speaker, speaker, a, a, b, same=True))
            if b:
                cells += [Cells(phone, speaker, other, a, rows[phone, other], b) for other in others]
        yield Group(kept, kept, cells)


def groups_across_contexts(
    contexts: Contexts, max_items: int, max_across: int, random: np.random.Generator
) -> Iterator[Group]:
    """x in another context than a and b: a group for each context and speaker of a and b."""
    tokens = {
        (context, *key): own
        for context in sorted(contexts)
        for key, own in _by_phone_and_speaker(_at_most(contexts[context], max_items, random)).items()
    }
    places: dict[str, list[tuple[tuple[str, str], str]]] = defaultdict(list)  # of a phone
    phones: dict[tuple[tuple[str, str], str], list[str]] = defaultdict(list)  # of a place
    for context, phone, speaker in tokens:
        places[phone].append((context, speaker))
        phones[context, speaker].append(phone)
    for (context, speaker), own in phones.items():
        if len(own) < 2:
            continue
        columns = [token for phone in own for token in tokens[context, phone, speaker]]
        numbers = _numbers(columns)
        rows: list[Token] = []
        cells = []
        for phone in own:
            away = [place for place in places[phone] if place[0] != context]
            chosen = _draw([place for place in away if place[1] == speaker], max_across, random)
            chosen += _draw([place for place in away if place[1] != speaker], max_across, random)
            b = {p: of for (p, _), of in numbers.items() if p != phone}
            for x_context, x_speaker in chosen:
                found = tokens[x_context, phone, x_speaker]
                x = np.arange(len(rows), len(rows) + len(found))
                cells.append(Cells(phone, speaker, x_speaker, numbers[phone, speaker], x, b))
                rows += found
        if cells:
            yield Group(rows, columns, cells)


def _at_most(found: Sequence[Token], most: int, random: np.random.Generator) -> list[Token]:
    """At most so many of each phone and speaker."""
    groups = _by_phone_and_speaker(found)
    return [token for key in sorted(groups) for token in _draw(groups[key], most, random)]


def _draw(found: Sequence[T], most: int, random: np.random.Generator) -> list[T]:
    if len(found) <= most:
        return list(found)
    return [found[int(i)] for i in sorted(random.permutation(len(found))[:most])]


def _by_phone_and_speaker(found: Sequence[Token]) -> dict[tuple[str, str], list[Token]]:
    groups: dict[tuple[str, str], list[Token]] = defaultdict(list)
    for token in found:
        groups[token.item.phone, token.item.speaker].append(token)
    return groups


def _numbers(tokens: Sequence[Token]) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Which tokens are of a phone and speaker."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, token in enumerate(tokens):
        found[token.item.phone, token.item.speaker].append(i)
    return {key: np.array(found[key]) for key in sorted(found)}
