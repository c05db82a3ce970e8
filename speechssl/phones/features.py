"""Articulatory features of phones, from panphon's table (Mortensen et al. 2016): 24 features of +, - and 0.

Only the table is read, not panphon imported: that would load pandas and build 6,367 objects, seconds for few lookups.
A phone that the table lacks (espeak's Belarusian has iʲ) is taken without its last mark, as often as need be;
`Features.known` says what was taken. A distance is the number of features in which two phones differ, and of equal ones
that with fewer opposites (+ against -) is nearer; arXiv:2109.11680 takes panphon's feature vectors as well.
"""

import csv
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechssl import files
from speechssl.errors import ConfigError, DataError

IntArray = npt.NDArray[np.int64]
_VALUES = {"+": 1, "0": 0, "-": -1}
_MOST = 16 << 20  # bytes; panphon's table has 0.5 MB


@dataclass(frozen=True)
class Features:
    """names: of F features. values: +1, 0 or -1 of each, by phone in Unicode's decomposed form (NFD)."""

    names: tuple[str, ...]
    values: dict[str, tuple[int, ...]]

    def known(self, phone: str) -> str:
        """The phone, or what is left of it, that the table has. Raises DataError where it has not even its letter."""
        rest = unicodedata.normalize("NFD", phone)
        while rest and rest not in self.values:
            rest = rest[:-1]
        if not rest:
            raise DataError(f"{phone!r} has no articulatory features: its first sign is no letter of the IPA")
        return unicodedata.normalize("NFC", rest)

    def vectors(self, phones: Iterable[str]) -> IntArray:
        """[N, F] of N phones."""
        rows = [self.values[unicodedata.normalize("NFD", self.known(phone))] for phone in phones]
        return np.array(rows, np.int64).reshape(len(rows), len(self.names))

    def distances(self, phones: Iterable[str], others: Iterable[str]) -> tuple[IntArray, IntArray]:
        """[N, M] each: features that differ, and how many of them are opposites."""
        one, two = self.vectors(phones)[:, None], self.vectors(others)[None]
        return (one != two).sum(2), (one * two == -1).sum(2)


def read_features(path: Path) -> Features:
    """A table of lines `ipa,feature,feature…` with a heading, as panphon's ipa_all.csv. Raises DataError."""
    rows = csv.reader(files.read_text(path, most=_MOST).splitlines())
    heading = next(rows, [])
    values: dict[str, tuple[int, ...]] = {}
    for number, (phone, *cells) in enumerate((row for row in rows if row), start=2):
        if len(cells) + 1 != len(heading) or not set(cells) <= set(_VALUES):
            raise DataError(f"{path}:{number}: expected {len(heading) - 1} times +, - or 0, found {cells}")
        values.setdefault(unicodedata.normalize("NFD", phone), tuple(_VALUES[cell] for cell in cells))
    if not values:
        raise DataError(f"{path}: a table of features without phones")
    return Features(tuple(heading[1:]), values)


def panphon() -> Features:
    """panphon's table. Raises ConfigError where panphon is not installed."""
    found = find_spec("panphon")
    if found is None or found.origin is None:
        raise ConfigError("articulatory features need panphon: pip install 'speechssl[phones]'")
    return read_features(Path(found.origin).parent / "data" / "ipa_all.csv")
