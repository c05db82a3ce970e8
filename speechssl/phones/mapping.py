"""From one inventory of phones to another: nearest by articulatory features (arXiv:2109.11680), and what to beat.

A map goes in one of two directions. Outputs: every phone that a recogniser writes gets a phone of the target language;
what it wrote is renamed. Inventory: every phone of the target language gets one that the recogniser writes; lexicons of
the target language are spelled with them. Of phones at the same distance the first in code point order is taken.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechssl.data.lines import read_lines, write_lines
from speechssl.errors import ConfigError, DataError
from speechssl.phones.features import Features

HEADING = "from\tto\tdifferent\topposite\ttaken_as"


@dataclass(frozen=True)
class Row:
    """One phone's: how many features differ, how many are opposites, and what of the phone the table of features has.

    The last three are None where features played no part.
    """

    source: str
    target: str
    different: int | None = None
    opposite: int | None = None
    taken_as: str | None = None


def nearest(sources: Sequence[str], targets: Sequence[str], features: Features) -> list[Row]:
    """Each source's nearest target. Raises DataError for no targets and for phones without features."""
    sources, targets = _inventories(sources, targets)
    different, opposite = features.distances(sources, targets)
    rows = []
    for source, differ, oppose in zip(sources, different, opposite, strict=True):
        best = min(range(len(targets)), key=lambda i: (targets[i] != source, differ[i], oppose[i], targets[i]))
        rows.append(Row(source, targets[best], int(differ[best]), int(oppose[best]), features.known(source)))
    return rows


def by_id(sources: Sequence[str], targets: Sequence[str], *, keep_shared: bool = False) -> list[Row]:
    """A floor: the target whose place among the sorted targets is nearest to the source's among the sorted sources.

    Places are counted from 0; sources beyond the last target get the last. keep_shared: phones of both keep their name.
    """
    sources, targets = _inventories(sources, targets)
    chosen = [targets[min(place, len(targets) - 1)] for place in range(len(sources))]
    return _rows(sources, targets, chosen, keep_shared)


def at_random(sources: Sequence[str], targets: Sequence[str], *, seed: int, keep_shared: bool = False) -> list[Row]:
    """A floor: every source gets a target at random. keep_shared: phones of both keep their name."""
    sources, targets = _inventories(sources, targets)
    places = np.random.default_rng(seed).integers(len(targets), size=len(sources))
    return _rows(sources, targets, [targets[place] for place in places], keep_shared)


def renamed(phones: Iterable[str], table: Mapping[str, str]) -> list[str]:
    """Phones by their new names. Raises DataError for one that the map lacks."""
    phones = list(phones)
    if missing := [phone for phone in phones if phone not in table]:
        raise DataError(f"the map of phones lacks {missing[0]!r}")
    return [table[phone] for phone in phones]


def spellings(outputs: Iterable[Row], inventory: Iterable[Row]) -> list[str]:
    """Lines of a lexicon, whose words are phones of the target language and are spelled with a recogniser's.

    A phone that several outputs become has several spellings. Maps of either direction, or of both, each phone's lines
    together.
    """
    pairs = {(row.target, row.source) for row in outputs} | {(row.source, row.target) for row in inventory}
    return [f"{word} {symbol}" for word, symbol in sorted(pairs)]


def write_map(path: Path, rows: Iterable[Row]) -> None:
    """A table with a heading, `-` where features played no part."""
    cells = ((row.source, row.target, row.different, row.opposite, row.taken_as) for row in rows)
    write_lines(path, [HEADING, *("\t".join("-" if c is None else str(c) for c in row) for row in cells)])


def read_map(path: Path) -> dict[str, str]:
    """From each phone to its new name. Raises DataError for another table, and for a phone that comes twice."""
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        fields = line.split("\t")
        if number == 1:
            if line != HEADING:
                raise DataError(f"{path}:1: no map of phones: it must begin with {HEADING!r}")
            continue
        if len(fields) != 5 or not fields[0] or not fields[1] or fields[0] in table:
            raise DataError(f"{path}:{number}: expected five fields and every phone once, found {line[:60]!r}")
        table[fields[0]] = fields[1]
    if not table:
        raise DataError(f"{path}: a map without phones")
    return table


def _inventories(sources: Sequence[str], targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """Both sorted, each phone once."""
    if not sources or not targets:
        raise ConfigError(f"a map needs phones on both sides: found {len(sources)} and {len(targets)}")
    return sorted(set(sources)), sorted(set(targets))


def _rows(sources: list[str], targets: list[str], chosen: list[str], keep_shared: bool) -> list[Row]:
    shared = set(targets) if keep_shared else set()
    return [Row(s, s if s in shared else c) for s, c in zip(sources, chosen, strict=True)]
